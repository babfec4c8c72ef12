// Where downloaded files go. Single-threaded.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "narthex/v1/resources.pb.h"

namespace narthex::client {

// Files come one after the other: Begin, Write as often as needed, then Keep or Drop.
class FileSink {
 public:
  virtual ~FileSink() = default;

  // `path`: where the file goes, below the destination.
  virtual absl::Status Begin(const v1::File& file, const std::string& path) = 0;
  virtual absl::Status Write(absl::string_view data) = 0;
  // The file is complete and right; it appears now or with Finish.
  virtual absl::Status Keep() = 0;
  // The file is wrong.
  virtual absl::Status Drop() = 0;
  // No more files come. `complete`: what was promised as a whole may appear.
  virtual absl::Status Finish(bool complete) = 0;
};

// Writes a tree below `folder`, each file under a temporary name first. Paths must be safe
// (IsSafeRelativePath).
std::unique_ptr<FileSink> NewFolderSink(std::string folder);

// Whether a destination means a zip or tar file, by its name.
bool IsArchiveDestination(absl::string_view path);

// Writes a .zip or .tar file under a temporary name, PartialArchive(path), which a broken run leaves behind.
// A dropped file spoils it, so that it does not appear.
absl::StatusOr<std::unique_ptr<FileSink>> NewArchiveSink(std::string path);
std::string PartialArchive(const std::string& path);

// Calls `visit` with each entry of a zip or tar file and what gives its next bytes ("" at the end), up to
// where the file was cut off. OK also for a file that is none. An error of `visit` ends it and is passed on.
using ArchiveVisitor = std::function<absl::Status(
    const std::string& name, const std::function<absl::StatusOr<absl::string_view>()>& next)>;
absl::Status ReadArchive(const std::string& path, const ArchiveVisitor& visit);

}  // namespace narthex::client
