// XNAT's session document: the XML that XNAT stores beside a session's files, and that Narthex keeps in the
// `xml` column. Thread-safe functions.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "imaging/session/model.h"
#include "imaging/session/types.h"

namespace narthex::session {

// A <xnat:file xsi:type="xnat:resourceCatalog">.
struct ResourceCatalog {
  std::string label;  // "DICOM"
  std::string uri;    // "SCANS/4/DICOM/scan_4_catalog.xml"
  std::string format = "DICOM";
  std::string content = "RAW";
  uint64_t file_count = 0;
  uint64_t file_size = 0;  // bytes

  friend bool operator==(const ResourceCatalog&, const ResourceCatalog&) = default;
};

// What the headers do not say.
struct DocumentFacts {
  std::string id;  // accession id "XNAT_E00001"; "" in the prearchive
  std::string project;
  std::string label;
  std::string subject_id;       // "XNAT_S00001", or the subject's label in the prearchive
  std::string prearchive_path;  // "" for none
  std::map<std::string, std::vector<ResourceCatalog>> scan_resources;  // by scan id
  std::vector<ResourceCatalog> resources;                              // of the session
  std::map<std::string, std::string> fields;                           // custom variables, by name
  std::string note;                                                    // at most 2,500 characters
  std::vector<std::pair<std::string, std::string>> shares;             // project, label there
};

// The whole document, UTF-8, with XML declaration. Characters that XML 1.0 cannot hold become U+FFFD.
std::string WriteSessionDocument(const SessionModel& session, const DocumentFacts& facts);

// One <xnat:scan> element, without declaration, with its namespaces declared.
std::string WriteScanFragment(const ScanModel& scan, const DocumentFacts& facts);

struct SessionDocument {
  SessionModel session;  // ScanModel::objects stay empty
  DocumentFacts facts;
};

// Reads back what WriteSessionDocument wrote; also XNAT's own documents as far as the fields are known
// (unknown elements are skipped). Names and units of parameters come from `types`. INVALID_ARGUMENT
// (INVALID_FIELD): not XML, no XNAT session, over 64 MiB, or nested over 64 levels.
absl::StatusOr<SessionDocument> ReadSessionDocument(absl::string_view xml, const TypeRegistry& types);

}  // namespace narthex::session
