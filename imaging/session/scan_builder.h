// One series on its way to a ScanModel, and the rules for scan ids. Inside imaging/session.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "imaging/session/builder.h"
#include "imaging/session/collector.h"
#include "imaging/session/model.h"
#include "imaging/session/types.h"

namespace narthex::session {

// Path numbers of what every document has (built_in_paths.h), in the order of BuiltInPaths().
struct BuiltInValues {
  explicit BuiltInValues(const PathIndex& index);
  int modality, series_number, series_description, series_date, series_time, acquisition_date,
      acquisition_time, protocol_name, body_part, requested_procedure, station, manufacturer, model, software,
      operators, study_date, study_time, institution, study_description, study_id, study_comments, accession,
      patient_id, patient_name, birth_date, weight, procedure_step_description;
};

class ScanBuilder {
 public:
  explicit ScanBuilder(absl::string_view series_instance_uid) : series_instance_uid_(series_instance_uid) {}

  void Add(const ScanType& type, const PathIndex& index, const BuiltInValues& paths,
           const ObjectValues& values, uint64_t object, int64_t frames);

  // Everything but the id. Used up afterwards.
  ScanModel Finish(const TypeRegistry& types, const BuildOptions& options);

 private:
  struct OfType {
    std::unique_ptr<ParameterCollector> parameters;
    int64_t objects = 0;
  };
  const ScanType* LeadType(const TypeRegistry& types) const;

  std::string series_instance_uid_;
  std::map<const ScanType*, OfType> by_type_;
  std::vector<const ScanType*> type_order_;
  DistinctValues modality_, number_, description_, protocol_, body_part_, procedure_, station_, manufacturer_,
      model_, software_, operators_;
  std::string earliest_;  // date and time, sortable
  int64_t primary_frames_ = 0, all_frames_ = 0;
  std::vector<ScanObject> objects_;
};

// Gives every scan its id by XNAT's rules: the series number; several series of one number get
// `<number>-<modality><k>`, in the order of their start and UID; without a number, the series UID with '_'
// for what a folder name should not hold. Ids are unique, safe as folder names, and at most
// limits::kLabelMaxBytes long.
void AssignScanIds(std::vector<ScanModel>& scans);

}  // namespace narthex::session
