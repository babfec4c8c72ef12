// Adds local files to a resource of an archived session.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "clients/cpp/connection.h"

namespace narthex::client {

struct ResourceUploadOptions {
  std::string session;  // as in DownloadOptions
  std::string scan;     // "": the session itself
  std::string resource;
  std::string format;
  std::string content;
  std::string comment;
  // Files by their name; folders with all that is below them, by their path in the folder.
  std::vector<std::string> paths;
  // Bytes sent, and in all. May be null.
  std::function<void(int64_t, int64_t)> on_progress = nullptr;
};

// Sends all files in one stream, each with the SHA-256 that it has here. Blocks. All are added or none.
// INVALID_ARGUMENT: two files have one name. NOT_FOUND: a path is not there. Errors: those of
// AddResourceFiles.
absl::StatusOr<v1::AddResourceFilesResponse> AddResourceFiles(Connection& connection,
                                                              const ResourceUploadOptions& options);

}  // namespace narthex::client
