// A file of the local disk, open for reading, closed by its destructor. Thread-compatible.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace narthex::client {

class OpenFile {
 public:
  // Opens a regular file and lets the system read its first `readahead_bytes` ahead.
  static absl::StatusOr<OpenFile> Open(const std::string& path, int64_t readahead_bytes = 0);
  OpenFile(OpenFile&& other) noexcept;
  OpenFile& operator=(OpenFile&& other) noexcept;
  ~OpenFile();

  // When it was opened.
  int64_t size_bytes() const { return size_bytes_; }

  // Fills `buffer` from `offset` on. DATA_LOSS: the file ends before.
  absl::Status Read(int64_t offset, absl::Span<char> buffer) const;
  // ABORTED: size or modification time changed since it was opened.
  absl::Status CheckUnchanged() const;

 private:
  OpenFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

  int fd_ = -1;
  std::string path_;
  int64_t size_bytes_ = 0;
  int64_t modified_ns_ = 0;
};

}  // namespace narthex::client
