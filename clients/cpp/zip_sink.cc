#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/status.h"
#include "clients/cpp/file_sink.h"

namespace narthex::client {
namespace {

class ZipSink : public FileSink {
 public:
  explicit ZipSink(std::string path)
      : path_(std::move(path)), temporary_(absl::StrCat(path_, ".part")), zip_(::archive_write_new()) {}
  ~ZipSink() override { Discard(); }

  absl::Status Open() {
    if (zip_ == nullptr) return absl::ResourceExhaustedError("out of memory");
    ::archive_write_set_format_zip(zip_);
    // Pixels shrink a little; level 1 keeps up with the network.
    ::archive_write_set_format_option(zip_, "zip", "compression-level", "1");
    return ::archive_write_open_filename(zip_, temporary_.c_str()) == ARCHIVE_OK ? absl::OkStatus()
                                                                                 : Failed();
  }

  absl::Status Begin(const v1::File& file) override {
    ::archive_entry* entry = ::archive_entry_new();
    ::archive_entry_set_pathname_utf8(entry, file.path().c_str());
    ::archive_entry_set_size(entry, file.size_bytes());
    ::archive_entry_set_filetype(entry, AE_IFREG);
    ::archive_entry_set_perm(entry, 0644);
    ::archive_entry_set_mtime(entry, ::time(nullptr), 0);
    const int result = ::archive_write_header(zip_, entry);
    ::archive_entry_free(entry);
    return result == ARCHIVE_OK ? absl::OkStatus() : Failed();
  }

  absl::Status Write(absl::string_view data) override {
    const la_ssize_t count = ::archive_write_data(zip_, data.data(), data.size());
    return count == static_cast<la_ssize_t>(data.size()) ? absl::OkStatus() : Failed();
  }

  absl::Status Keep() override {
    return ::archive_write_finish_entry(zip_) == ARCHIVE_OK ? absl::OkStatus() : Failed();
  }

  absl::Status Drop() override {
    spoilt_ = true;
    return Keep();
  }

  absl::Status Finish(bool complete) override {
    if (!complete || spoilt_) {
      Discard();
      return absl::OkStatus();
    }
    if (::archive_write_close(zip_) != ARCHIVE_OK) return Failed();
    ::archive_write_free(std::exchange(zip_, nullptr));
    if (::rename(temporary_.c_str(), path_.c_str()) == 0) return absl::OkStatus();
    return absl::UnknownError(absl::StrCat("cannot write ", path_, ": ", std::strerror(errno)));
  }

 private:
  absl::Status Failed() const {
    const char* why = ::archive_error_string(zip_);
    return absl::UnknownError(
        absl::StrCat("cannot write ", temporary_, ": ", why == nullptr ? "unknown" : why));
  }

  void Discard() {
    if (zip_ == nullptr) return;
    ::archive_write_free(std::exchange(zip_, nullptr));
    ::unlink(temporary_.c_str());
  }

  const std::string path_;
  const std::string temporary_;
  ::archive* zip_;
  bool spoilt_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<FileSink>> NewZipSink(std::string path) {
  auto sink = std::make_unique<ZipSink>(std::move(path));
  NX_RETURN_IF_ERROR(sink->Open());
  return sink;
}

}  // namespace narthex::client
