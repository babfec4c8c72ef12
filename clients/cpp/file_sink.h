// Where downloaded files go. Single-threaded.
#pragma once

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

  virtual absl::Status Begin(const v1::File& file) = 0;
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

// Writes a zip file under a temporary name; a dropped file spoils it, so that it does not appear.
absl::StatusOr<std::unique_ptr<FileSink>> NewZipSink(std::string path);

}  // namespace narthex::client
