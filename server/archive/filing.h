// What an archive operation is about to file, on its way from the model to files, catalogs and rows. Inside
// server/archive.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"

#include "server/archive/archiver.h"
#include "server/prearchive/build.h"
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

struct Archiver::Filing {
  prearchive::BuiltSession built;
  metadata::Reservation reservation;
  std::string folder;  // below the archive
  std::vector<FiledObject> objects;
  absl::flat_hash_map<std::string, archive::WrittenFile> written;  // by path
  std::vector<metadata::Resource> resources;
};

}  // namespace narthex::archiving
