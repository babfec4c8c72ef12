// What the headers of a study say: a session and its scans, as XNAT's session document has them. Plain
// values; thread-compatible. Made by builder.h, written by document.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "base/phi.h"

namespace narthex::session {

// A captured attribute. Several values: "10,20".
struct Parameter {
  std::string name;      // "te", "voxelRes.x"
  std::string value;     // never empty
  std::string unit;      // "ms"; "" for none
  std::string xml;       // see AttributeSpec::xml
  bool differs = false;  // the objects of the scan do not agree; `value` is joined
  bool numeric = false;
  bool xml_units = false;  // see AttributeSpec::xml_units
};

// In the order of the type file; names are unique.
using Parameters = std::vector<Parameter>;

// The value of `name`, or "".
absl::string_view ParameterValue(const Parameters& parameters, absl::string_view name);

struct Scanner {
  std::string station, manufacturer, model, software_version;  // distinct values joined by ','
};

struct ScanObject {
  uint64_t index = 0;   // what the caller gave to SessionBuilder::Add
  bool primary = true;  // resource DICOM, else secondary
  int frames = 1;
};

struct ScanModel {
  std::string id;  // "4", "4-MR1"; unique in the session
  std::string series_instance_uid;
  std::string series_number;  // as in the header
  std::string type_name;      // of the type file: "mr-spectroscopy"
  std::string xsi_type;       // "xnat:mrsScanData"
  std::string modality;
  std::string type;                // XNAT's scan type: the series description, a mapped one, or "unknown"
  std::string quality = "usable";  // usable, questionable, unusable, or the site's own words
  std::string note;                // of a person; at most 2,500 characters
  std::string series_description;
  std::string start_date, start_time;  // "2006-12-14", "09:41:58"; "" if unknown
  std::string protocol_name, body_part_examined, requested_procedure_description;
  Scanner scanner;
  std::string operator_name;
  int64_t frames = 0;       // of the primary objects (of all, if there are none)
  std::string multi_value;  // see ScanType::multi_value
  Parameters parameters;
  std::vector<ScanObject> objects;  // in the order they were added
  bool pet_part =
      false;  // belongs to the PET session if PET-MR is split (XNAT: PT, or MR whose name has "MRAC")

  size_t primary_count() const;
  size_t secondary_count() const { return objects.size() - primary_count(); }
};

struct SessionModel {
  std::string study_instance_uid;
  std::string type_name;   // of the type file: "mr"
  std::string xsi_type;    // "xnat:mrSessionData"
  std::string element;     // "MRSession"
  std::string modality;    // the leading one: "MR"
  std::string date, time;  // "2006-12-14", "09:30:21"; "" if unknown
  std::string acquisition_site;
  Scanner scanner;
  std::string operator_name;
  std::string session_type;  // StudyDescription
  std::string study_id, study_comments;
  Phi<std::string> accession_number, patient_id, patient_name,
      patient_birth_date;        // birth date: "1990-01-01"
  std::string patient_weight;    // kg
  Parameters parameters;         // "fieldStrength", "tracer.name"
  std::vector<ScanModel> scans;  // by number, then id
  bool mixes_pet_and_mr = false;

  // What does not fit, for people, without patient values: "scan 4: te differs", "12 objects without
  // SeriesNumber".
  std::vector<std::string> warnings;
};

}  // namespace narthex::session
