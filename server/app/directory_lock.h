// One server a data directory.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include <sys/file.h>

#include "base/error.h"

namespace narthex::app {

// Holds a lock on the data directory for the life of the process. Thread-compatible.
class DirectoryLock {
 public:
  static absl::StatusOr<std::unique_ptr<DirectoryLock>> Take(const std::string& directory) {
    const std::string path = directory + "/lock";
    auto lock = std::make_unique<DirectoryLock>();
    lock->fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock->fd_ < 0) {
      return Internal("STORAGE_ERROR", absl::StrCat("cannot open ", path, ": ", std::strerror(errno)));
    }
    if (::flock(lock->fd_, LOCK_EX | LOCK_NB) != 0) {
      return FailedPrecondition("DATA_DIR_IN_USE",
                                absl::StrCat("another narthexd uses the data directory ", directory,
                                             "; stop it, or give this one its own with --data-dir"));
    }
    return lock;
  }
  ~DirectoryLock() {
    if (fd_ >= 0) ::close(fd_);
  }

 private:
  int fd_ = -1;
};

}  // namespace narthex::app
