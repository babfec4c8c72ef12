#include "base/archive_walk.h"

#include <archive.h>
#include <archive_entry.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"

namespace narthex {
namespace {

constexpr size_t kPieceBytes = 256 << 10;
constexpr size_t kHeadBytes = 512;  // a tar header, and more than any other magic number needs

struct ArchiveCloser {
  void operator()(archive* reader) const { archive_read_free(reader); }
};

// How a file is compressed that begins with `head`, as libarchive's number. One filter, and never
// libarchive's own choice: it would take up to 25 of them off a file that decompresses to itself, in minutes.
// What is compressed twice is an archive in an archive.
int FilterOf(absl::string_view head) {
  if (absl::StartsWith(head, "\x1f\x8b")) return ARCHIVE_FILTER_GZIP;
  if (absl::StartsWith(head, "BZh")) return ARCHIVE_FILTER_BZIP2;
  if (absl::StartsWith(head, "\xFD\x37zXZ")) return ARCHIVE_FILTER_XZ;
  if (absl::StartsWith(head, "\x28\xb5\x2f\xfd")) return ARCHIVE_FILTER_ZSTD;
  return ARCHIVE_FILTER_NONE;
}

absl::StatusOr<std::string> TakeHead(const ByteSource& source) {
  std::string head;
  while (head.size() < kHeadBytes) {
    NX_ASSIGN_OR_RETURN(const absl::string_view bytes, source());
    if (bytes.empty()) break;
    head.append(bytes.data(), bytes.size());
  }
  return head;
}

// `head`, then what `rest` gives.
ByteSource Joined(std::string head, const ByteSource& rest) {
  return [head = std::move(head), given = false, &rest]() mutable -> absl::StatusOr<absl::string_view> {
    if (!std::exchange(given, true) && !head.empty()) return absl::string_view(head);
    return rest();
  };
}

struct SourceState {
  const ByteSource* source;
  absl::Status status;
};

la_ssize_t ReadSource(archive* reader, void* data, const void** buffer) {
  auto* state = static_cast<SourceState*>(data);
  auto bytes = (*state->source)();
  if (!bytes.ok()) {
    state->status = bytes.status();
    archive_set_error(reader, EIO, "its bytes cannot be read");
    return -1;
  }
  *buffer = bytes->data();
  return static_cast<la_ssize_t>(bytes->size());
}

class Walk {
 public:
  explicit Walk(const EntryVisitor& visit) : visit_(visit) {}

  absl::Status Archive(const ByteSource& source, const std::string& prefix, int depth) {
    NX_ASSIGN_OR_RETURN(std::string head, TakeHead(source));
    const std::unique_ptr<archive, ArchiveCloser> reader(archive_read_new());
    const int filter = FilterOf(head);
    if (filter != ARCHIVE_FILTER_NONE) archive_read_append_filter(reader.get(), filter);
    archive_read_support_format_zip_streamable(reader.get());
    archive_read_support_format_tar(reader.get());
    // A single compressed file, such as an image or a .nii.gz beside the images.
    if (filter != ARCHIVE_FILTER_NONE) archive_read_support_format_raw(reader.get());
    const ByteSource all = Joined(std::move(head), source);
    SourceState state{&all, absl::OkStatus()};
    if (archive_read_open(reader.get(), &state, nullptr, ReadSource, nullptr) != ARCHIVE_OK)
      return Unreadable(reader.get(), state);
    archive_entry* entry = nullptr;
    while (true) {
      const int result = archive_read_next_header(reader.get(), &entry);
      if (result == ARCHIVE_EOF) return absl::OkStatus();
      if (result != ARCHIVE_OK && result != ARCHIVE_WARN) return Unreadable(reader.get(), state);
      if (++entries_ > limits::kArchiveMaxEntries)
        return Refused(absl::StrCat("there are more than ", limits::kArchiveMaxEntries.get(), " entries"));
      if (archive_entry_filetype(entry) != AE_IFREG) continue;
      if (archive_entry_is_encrypted(entry))
        return Refused(absl::StrCat("entry ", entries_, " cannot be read: the entry is encrypted"));
      const char* name = archive_entry_pathname_utf8(entry);
      NX_RETURN_IF_ERROR(
          Entry(reader.get(), state,
                absl::StrCat(prefix, name == nullptr ? absl::StrCat("entry ", entries_) : name), depth));
    }
  }

 private:
  absl::Status Refused(const std::string& why) const {
    return InvalidArgument("ARCHIVE_UNREADABLE", absl::StrCat(why, "; what came before it was taken in"),
                           {{"entry", absl::StrCat(entries_)}});
  }

  absl::Status Unreadable(archive* reader, const SourceState& state) const {
    if (!state.status.ok()) return state.status;
    const char* said = archive_error_string(reader);
    return Refused(
        absl::StrCat("entry ", entries_, " cannot be read: ", said != nullptr ? said : "unknown format"));
  }

  absl::Status Entry(archive* reader, SourceState& state, const std::string& name, int depth) {
    std::string buffer(kPieceBytes, '\0');
    uint64_t total = 0;
    const ByteSource next = [&]() -> absl::StatusOr<absl::string_view> {
      const la_ssize_t size = archive_read_data(reader, buffer.data(), buffer.size());
      if (size < 0) return Unreadable(reader, state);
      total += static_cast<uint64_t>(size);
      if (total > limits::kObjectMaxBytes) return Refused(absl::StrCat("entry ", entries_, " is too large"));
      return absl::string_view(buffer.data(), static_cast<size_t>(size));
    };
    NX_ASSIGN_OR_RETURN(std::string head, TakeHead(next));
    if (head.empty()) return absl::OkStatus();
    const bool nested = LooksLikeArchive(head);
    const ByteSource bytes = Joined(std::move(head), next);
    if (!nested) return visit_(name, bytes);
    if (depth >= limits::kArchiveMaxNesting) {
      return Refused(absl::StrCat("entry ", entries_, ": archives within archives, over ",
                                  limits::kArchiveMaxNesting.get(), " deep"));
    }
    return Archive(bytes, absl::StrCat(name, "/"), depth + 1);
  }

  const EntryVisitor& visit_;
  uint64_t entries_ = 0;
};

}  // namespace

bool LooksLikeArchive(absl::string_view head) {
  if (head.size() > 132 && head.substr(128, 4) == "DICM") return false;
  return FilterOf(head) != ARCHIVE_FILTER_NONE || absl::StartsWith(head, "PK\x03\x04") ||
         absl::StartsWith(head, "PK\x05\x06") || (head.size() > 262 && head.substr(257, 5) == "ustar");
}

absl::Status WalkArchive(const ByteSource& source, const EntryVisitor& visit) {
  return Walk(visit).Archive(source, "", 1);
}

}  // namespace narthex
