#include "clients/cpp/open_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include <sys/stat.h>

namespace narthex::client {
namespace {

absl::Status Failed(const std::string& path, int error) {
  return absl::UnknownError(absl::StrCat("cannot read ", path, ": ", std::strerror(error)));
}

int64_t ModifiedNs(const struct stat& facts) {
  return int64_t{facts.st_mtim.tv_sec} * 1'000'000'000 + facts.st_mtim.tv_nsec;
}

}  // namespace

absl::StatusOr<OpenFile> OpenFile::Open(const std::string& path, int64_t readahead_bytes) {
  // O_NONBLOCK: a pipe of that name must not stop the upload.
  OpenFile file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK), path);
  if (file.fd_ < 0) return Failed(path, errno);
  struct stat facts;
  if (::fstat(file.fd_, &facts) != 0) return Failed(path, errno);
  if (!S_ISREG(facts.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, " is not a file"));
  file.size_bytes_ = facts.st_size;
  file.modified_ns_ = ModifiedNs(facts);
  ::posix_fadvise(file.fd_, 0, 0, POSIX_FADV_SEQUENTIAL);
  if (readahead_bytes > 0) {
    ::posix_fadvise(file.fd_, 0, std::min<int64_t>(readahead_bytes, facts.st_size), POSIX_FADV_WILLNEED);
  }
  return file;
}

OpenFile::OpenFile(OpenFile&& other) noexcept { *this = std::move(other); }

OpenFile& OpenFile::operator=(OpenFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(path_, other.path_);
  std::swap(size_bytes_, other.size_bytes_);
  std::swap(modified_ns_, other.modified_ns_);
  return *this;
}

OpenFile::~OpenFile() {
  if (fd_ >= 0) ::close(fd_);
}

absl::Status OpenFile::Read(int64_t offset, absl::Span<char> buffer) const {
  size_t done = 0;
  while (done < buffer.size()) {
    const ssize_t count =
        ::pread(fd_, buffer.data() + done, buffer.size() - done, offset + static_cast<int64_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Failed(path_, errno);
    if (count == 0) return absl::DataLossError(absl::StrCat(path_, " became shorter while it was read"));
    done += static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

absl::Status OpenFile::CheckUnchanged() const {
  struct stat facts;
  if (::fstat(fd_, &facts) != 0) return Failed(path_, errno);
  if (facts.st_size == size_bytes_ && ModifiedNs(facts) == modified_ns_) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat(path_, " was changed while it was read"));
}

}  // namespace narthex::client
