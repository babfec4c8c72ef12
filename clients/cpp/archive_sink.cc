#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/status.h"
#include "clients/cpp/file_sink.h"

namespace narthex::client {
namespace {

constexpr size_t kPieceBytes = 1 << 20;

// A zip (zip64 where it has to be) or a tar file.
class ArchiveSink : public FileSink {
 public:
  explicit ArchiveSink(std::string path)
      : path_(std::move(path)), temporary_(absl::StrCat(path_, ".part")), archive_(::archive_write_new()) {}
  ~ArchiveSink() override { Close(); }

  absl::Status Open() {
    if (archive_ == nullptr) return absl::ResourceExhaustedError("out of memory");
    if (absl::EndsWithIgnoreCase(path_, ".tar")) {
      ::archive_write_set_format_pax_restricted(archive_);
    } else {
      ::archive_write_set_format_zip(archive_);
      // Pixels shrink a little; level 1 keeps up with the network.
      ::archive_write_set_format_option(archive_, "zip", "compression-level", "1");
    }
    return ::archive_write_open_filename(archive_, temporary_.c_str()) == ARCHIVE_OK ? absl::OkStatus()
                                                                                     : Failed();
  }

  absl::Status Begin(const v1::File& file, const std::string& path) override {
    ::archive_entry* entry = ::archive_entry_new();
    ::archive_entry_set_pathname_utf8(entry, path.c_str());
    ::archive_entry_set_size(entry, file.size_bytes());
    ::archive_entry_set_filetype(entry, AE_IFREG);
    ::archive_entry_set_perm(entry, 0644);
    ::archive_entry_set_mtime(entry, ::time(nullptr), 0);
    const int result = ::archive_write_header(archive_, entry);
    ::archive_entry_free(entry);
    return result == ARCHIVE_OK ? absl::OkStatus() : Failed();
  }

  absl::Status Write(absl::string_view data) override {
    const la_ssize_t count = ::archive_write_data(archive_, data.data(), data.size());
    return count == static_cast<la_ssize_t>(data.size()) ? absl::OkStatus() : Failed();
  }

  absl::Status Keep() override {
    return ::archive_write_finish_entry(archive_) == ARCHIVE_OK ? absl::OkStatus() : Failed();
  }

  absl::Status Drop() override {
    spoilt_ = true;
    return Keep();
  }

  absl::Status Finish(bool complete) override {
    if (!complete || spoilt_) {
      Close();
      ::unlink(temporary_.c_str());
      return absl::OkStatus();
    }
    if (::archive_write_close(archive_) != ARCHIVE_OK) return Failed();
    ::archive_write_free(std::exchange(archive_, nullptr));
    if (::rename(temporary_.c_str(), path_.c_str()) == 0) return absl::OkStatus();
    return absl::UnknownError(absl::StrCat("cannot write ", path_, ": ", std::strerror(errno)));
  }

 private:
  absl::Status Failed() const {
    const char* why = ::archive_error_string(archive_);
    return absl::UnknownError(
        absl::StrCat("cannot write ", temporary_, ": ", why == nullptr ? "unknown" : why));
  }

  // What was written stays: the next run takes complete files from it.
  void Close() {
    if (archive_ != nullptr) ::archive_write_free(std::exchange(archive_, nullptr));
  }

  const std::string path_;
  const std::string temporary_;
  ::archive* archive_;
  bool spoilt_ = false;
};

}  // namespace

bool IsArchiveDestination(absl::string_view path) {
  return absl::EndsWithIgnoreCase(path, ".zip") || absl::EndsWithIgnoreCase(path, ".tar");
}

std::string PartialArchive(const std::string& path) { return absl::StrCat(path, ".part"); }

absl::StatusOr<std::unique_ptr<FileSink>> NewArchiveSink(std::string path) {
  auto sink = std::make_unique<ArchiveSink>(std::move(path));
  NX_RETURN_IF_ERROR(sink->Open());
  return sink;
}

absl::Status ReadArchive(const std::string& path, const ArchiveVisitor& visit) {
  std::unique_ptr<::archive, int (*)(::archive*)> archive(::archive_read_new(), &::archive_read_free);
  if (!archive) return absl::ResourceExhaustedError("out of memory");
  ::archive_read_support_format_zip_streamable(archive.get());
  ::archive_read_support_format_tar(archive.get());
  if (::archive_read_open_filename(archive.get(), path.c_str(), kPieceBytes) != ARCHIVE_OK)
    return absl::OkStatus();
  std::string buffer(kPieceBytes, '\0');
  ::archive_entry* entry = nullptr;
  while (::archive_read_next_header(archive.get(), &entry) == ARCHIVE_OK) {
    const char* name = ::archive_entry_pathname_utf8(entry);
    if (name == nullptr) continue;
    bool torn = false;
    const absl::Status visited = visit(name, [&]() -> absl::StatusOr<absl::string_view> {
      const la_ssize_t count = ::archive_read_data(archive.get(), buffer.data(), buffer.size());
      torn = count < 0;
      if (torn) return absl::DataLossError("the archive ends here");
      return absl::string_view(buffer.data(), static_cast<size_t>(count));
    });
    if (torn) break;  // where the former run was cut off
    NX_RETURN_IF_ERROR(visited);
  }
  return absl::OkStatus();
}

}  // namespace narthex::client
