// What an archive operation is about to file, on its way from the model to files, catalogs and rows. Inside
// server/archive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"

#include "server/archive/archiver.h"
#include "server/archive/merge_plan.h"
#include "server/archive/project_script.h"
#include "server/prearchive/build.h"
#include "storage/archive/catalog.h"
#include "storage/archive/session_writer.h"
#include "storage/metadata/records.h"

namespace narthex::archiving {

// One file of a scan, and where it goes.
struct FiledObject {
  const prearchive::BuiltObject* object = nullptr;
  std::string path;      // below the session's folder
  std::string resource;  // DICOM or secondary
  size_t scan = 0;       // index into the model's scans
};

// Scan id and label.
using ResourceKey = std::pair<std::string, std::string>;

struct Archiver::Filing {
  std::unique_ptr<ProjectScript> script;
  prearchive::BuiltSession built;
  ExportedFields exported;
  std::vector<std::string> scan_ids;                               // in the archive, of the model's scans
  std::string folder;                                              // below the archive
  std::vector<FiledObject> objects;                                // those that become files
  absl::flat_hash_map<std::string, archive::WrittenFile> written;  // by path
  std::map<ResourceKey, metadata::Resource> resources;             // of the session, when it is committed
  // A new session:
  metadata::Reservation reservation;
  // A merge:
  std::optional<ArchivedSession> there;
  MergePlan plan;

  const std::string& ScanId(const FiledObject& filed) const { return scan_ids[filed.scan]; }
  ResourceKey KeyOf(const FiledObject& filed) const { return {ScanId(filed), filed.resource}; }
};

// The row of a resource of DICOM objects, without its counts.
metadata::Resource MakeResource(const ResourceKey& key);
// The row of `scan`.
metadata::Scan ToRow(const session::ScanModel& scan);
// The row and the catalog's entry of a file that was written.
metadata::File ToRow(const FiledObject& filed, const std::string& scan_id,
                     const archive::WrittenFile& written);
archive::CatalogEntry ToEntry(const FiledObject& filed, const archive::WrittenFile& written,
                              const operations::Operation& operation);

}  // namespace narthex::archiving
