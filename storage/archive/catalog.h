// Catalog XML as XNAT writes and reads it: xmlns:cat="http://nrg.wustl.edu/catalog", one file per resource.
//
//   Catalog catalog{.dicom = true, .uid = series_uid};
//   catalog.entries.push_back({.uri = "a.dcm", .uid = sop_uid, .size_bytes = 525312, .md5 = "4dcb18..."});
//   std::string xml = WriteCatalog(catalog);
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narthex::archive {

struct CatalogEntry {
  std::string uri;  // relative to the catalog's folder; required
  std::string id;   // "": the uri
  std::string name;
  std::string uid;  // SOP Instance UID; "" makes it a plain cat:entry
  std::optional<int64_t> instance_number;
  std::string format;  // DICOM, ...
  std::string content;
  std::string created_by;
  std::string created_time;  // 2019-01-09T18:05:57.343
  std::string created_event_id;
  std::string modified_by;
  std::string modified_time;
  std::string modified_event_id;
  std::string md5;  // 32 hex digits
  std::optional<int64_t> size_bytes;
  std::map<std::string, std::string> meta_fields;  // others than size_in_bytes

  friend bool operator==(const CatalogEntry&, const CatalogEntry&) = default;
};

// One line of a catalog's AUDIT: `14:Wed Jan 09 18:05:57 GMT 2019=Added:176;Removed:2`.
struct CatalogAudit {
  std::string event_id;
  std::string date;                       // as written; Java's Date.toString()
  std::map<std::string, int64_t> counts;  // action (Added, Removed, Replaced) -> files

  friend bool operator==(const CatalogAudit&, const CatalogAudit&) = default;
};

struct Catalog {
  bool dicom = true;  // cat:DCMCatalog, else cat:Catalog
  std::string uid;    // SeriesInstanceUID
  std::string id;
  std::string name;
  std::string description;
  std::vector<CatalogAudit> audit;
  std::map<std::string, std::string> meta_fields;  // others than AUDIT
  std::vector<CatalogEntry> entries;

  friend bool operator==(const Catalog&, const Catalog&) = default;
};

// Deterministic; control characters that XML cannot hold become '?'. The order of entries is kept.
std::string WriteCatalog(const Catalog& catalog);

// Reads any catalog that XNAT or WriteCatalog wrote; nested entry sets are flattened, unknown elements are
// ignored. No entity other than the five of XML is expanded. INVALID_ARGUMENT (CATALOG_INVALID): not XML, not
// a catalog, an entry without URI, a URI that leaves the folder, or too large.
absl::StatusOr<Catalog> ReadCatalog(absl::string_view xml);

// The AUDIT grammar. Unknown text is skipped.
std::string WriteAudit(const std::vector<CatalogAudit>& audit);
std::vector<CatalogAudit> ReadAudit(absl::string_view text);

// `unix_us` as Java's Date.toString() in GMT: "Wed Jan 09 18:05:57 GMT 2019"; and as xs:dateTime.
std::string JavaDate(int64_t unix_us);
std::string XmlDateTime(int64_t unix_us);

}  // namespace narthex::archive
