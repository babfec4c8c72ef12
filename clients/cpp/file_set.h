// Finds the files that an upload's arguments mean.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narthex::client {

struct LocalFile {
  std::string path;
  int64_t size_bytes = 0;
  // Nanoseconds since 1970.
  int64_t modified_ns = 0;
};

struct FileSet {
  // To be sent object by object.
  std::vector<LocalFile> files;
  // Arguments that are .zip, .tar, .tar.gz or .tgz files.
  std::vector<LocalFile> archives;
  // Hidden and operating system files (.DS_Store, Thumbs.db, __MACOSX), not sent.
  int64_t hidden_count = 0;
  // Symbolic links that lead out of the folder, devices, sockets; not sent.
  int64_t special_count = 0;
  // Files of no bytes; not sent.
  int64_t empty_count = 0;
};

// Whether the name ends in .zip, .tar, .tar.gz or .tgz, in any case.
bool IsArchiveName(absl::string_view path);

// Files as they are; folders with all that is below them, sorted by path. A file that is reached twice is
// taken once. NOT_FOUND: an argument is not there. PERMISSION_DENIED: a folder cannot be read.
// RESOURCE_EXHAUSTED: more than ten million files, or folders nested deeper than 256.
absl::StatusOr<FileSet> CollectFiles(const std::vector<std::string>& paths);

}  // namespace narthex::client
