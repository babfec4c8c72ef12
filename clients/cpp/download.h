// Downloads an archived session as a folder, a zip or a tar file, without a copy in between.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "clients/cpp/connection.h"

namespace narthex::client {

struct DownloadProgress {
  int64_t file_count = 0;  // in all
  int64_t total_bytes = 0;
  int64_t done_count = 0;  // received or there before
  int64_t done_bytes = 0;
};

struct DownloadOptions {
  // sessions/<accession id> or projects/<project>/sessions/<label>.
  std::string session;
  // Scan ids; empty: the whole session.
  std::vector<std::string> scans;
  // Resource labels; empty: all.
  std::vector<std::string> resources;
  // A folder, made if it is not there; or, if it ends in .zip or .tar, such a file, replaced when complete. A
  // run that was broken off is continued by the next one: complete files are not fetched again.
  std::string destination;
  // Compares the SHA-256 of every file with what the archive says. Sizes are always compared; so are digests
  // of what a broken run left.
  bool verify = false;
  // How often a broken stream is continued without a byte of progress in between.
  int max_reconnects = 5;
  // May be null.
  std::function<void(const DownloadProgress&)> on_progress = nullptr;
};

struct DownloadReport {
  int64_t file_count = 0;     // received
  int64_t size_bytes = 0;     // received
  int64_t skipped_count = 0;  // were there with the right size and SHA-256
  int64_t renamed_count = 0;  // got another name, because some file system would not take theirs
  // Files whose bytes are not what the archive says; they are not kept.
  std::vector<std::string> damaged;
};

// Blocks. A file appears under its name only when it is complete. A folder that holds some files already is
// completed. DATA_LOSS: the server named a file outside the destination; nothing of it was written.
// Errors: those of DownloadSession and of the local disk.
absl::StatusOr<DownloadReport> DownloadSession(Connection& connection, const DownloadOptions& options);

// Whether `path` stays below the folder that it is relative to: no absolute path, no "..", no control
// character.
bool IsSafeRelativePath(absl::string_view path);

}  // namespace narthex::client
