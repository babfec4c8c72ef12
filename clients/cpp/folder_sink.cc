#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

#include "base/status.h"
#include "clients/cpp/file_sink.h"

namespace narthex::client {
namespace {

namespace fs = std::filesystem;

absl::Status Failed(absl::string_view what, const std::string& path, int error) {
  const auto code = error == ENOSPC ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kUnknown;
  return absl::Status(code, absl::StrCat("cannot ", what, " ", path, ": ", std::strerror(error)));
}

class FolderSink : public FileSink {
 public:
  explicit FolderSink(std::string folder) : folder_(std::move(folder)) {}
  ~FolderSink() override { Discard(); }

  absl::Status Begin(const v1::File& file, const std::string& name) override {
    const fs::path path = fs::path(folder_) / name;
    std::error_code error;
    fs::create_directories(path.parent_path(), error);
    if (error) return Failed("make the folder", path.parent_path().string(), error.value());
    path_ = path.string();
    temporary_ = (path.parent_path() / absl::StrCat(".", path.filename().string(), ".part")).string();
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    return fd_ < 0 ? Failed("write", temporary_, errno) : absl::OkStatus();
  }

  absl::Status Write(absl::string_view data) override {
    while (!data.empty()) {
      const ssize_t count = ::write(fd_, data.data(), data.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return Failed("write", temporary_, errno);
      data.remove_prefix(static_cast<size_t>(count));
    }
    return absl::OkStatus();
  }

  absl::Status Keep() override {
    const int fd = std::exchange(fd_, -1);
    if (::close(fd) != 0) return Failed("write", temporary_, errno);
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) return Failed("write", path_, errno);
    return absl::OkStatus();
  }

  absl::Status Drop() override {
    Discard();
    return absl::OkStatus();
  }

  absl::Status Finish(bool complete) override { return absl::OkStatus(); }

 private:
  void Discard() {
    if (fd_ < 0) return;
    ::close(std::exchange(fd_, -1));
    ::unlink(temporary_.c_str());
  }

  const std::string folder_;
  std::string path_;
  std::string temporary_;
  int fd_ = -1;
};

}  // namespace

std::unique_ptr<FileSink> NewFolderSink(std::string folder) {
  return std::make_unique<FolderSink>(std::move(folder));
}

}  // namespace narthex::client
