#include "server/ingest/archive_import.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/crc32c.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"

namespace narthex::ingest {
namespace {

constexpr size_t kPieceBytes = 1 << 20;

struct ArchiveCloser {
  void operator()(archive* reader) const { archive_read_free(reader); }
};
using ArchiveHandle = std::unique_ptr<archive, ArchiveCloser>;

constexpr size_t kMagicBytes = 6;

// How a file is compressed that begins with `head`, as libarchive's number.
int FilterOf(absl::string_view head) {
  if (absl::StartsWith(head, "\x1f\x8b")) return ARCHIVE_FILTER_GZIP;
  if (absl::StartsWith(head, "BZh")) return ARCHIVE_FILTER_BZIP2;
  if (absl::StartsWith(head, absl::string_view("\xFD"
                                               "7zXZ\0",
                                               kMagicBytes)))
    return ARCHIVE_FILTER_XZ;
  if (absl::StartsWith(head, "\x28\xb5\x2f\xfd")) return ARCHIVE_FILTER_ZSTD;
  return ARCHIVE_FILTER_NONE;
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
    archive_set_error(reader, EIO, "the sender's bytes ended");
    return -1;
  }
  *buffer = bytes->data();
  return static_cast<la_ssize_t>(bytes->size());
}

class Importer {
 public:
  Importer(ObjectStream& stream, int64_t* sequence) : stream_(stream), sequence_(*sequence) {}

  absl::Status Run(const ByteSource& source, int depth) {
    std::string head;
    while (head.size() < kMagicBytes) {
      NX_ASSIGN_OR_RETURN(const absl::string_view bytes, source());
      if (bytes.empty()) break;
      head.append(bytes.data(), bytes.size());
    }
    bool head_given = false;
    const ByteSource all = [&]() -> absl::StatusOr<absl::string_view> {
      if (std::exchange(head_given, true)) return source();
      return absl::string_view(head);
    };
    ArchiveHandle reader(archive_read_new());
    // One filter, and never libarchive's choice: it would take up to 25 of them off a file that decompresses
    // to itself, in minutes. What is compressed twice is an archive in an archive.
    const int filter = FilterOf(head);
    if (filter != ARCHIVE_FILTER_NONE) archive_read_append_filter(reader.get(), filter);
    archive_read_support_format_zip_streamable(reader.get());
    archive_read_support_format_tar(reader.get());
    // A single compressed file, such as an image or a .nii.gz beside the images.
    if (filter != ARCHIVE_FILTER_NONE) archive_read_support_format_raw(reader.get());
    SourceState state{&all, absl::OkStatus()};
    if (archive_read_open(reader.get(), &state, nullptr, ReadSource, nullptr) != ARCHIVE_OK) {
      return Unreadable(reader.get(), state);
    }
    archive_entry* entry = nullptr;
    while (true) {
      const int result = archive_read_next_header(reader.get(), &entry);
      if (result == ARCHIVE_EOF) return absl::OkStatus();
      if (result != ARCHIVE_OK && result != ARCHIVE_WARN) return Unreadable(reader.get(), state);
      ++entries_;
      if (entries_ > limits::kArchiveMaxEntries) {
        return InvalidArgument("ARCHIVE_UNREADABLE",
                               absl::StrCat("more than ", limits::kArchiveMaxEntries, " entries"));
      }
      if (archive_entry_filetype(entry) != AE_IFREG) continue;
      if (archive_entry_is_encrypted(entry)) return Unreadable(reader.get(), state, "the entry is encrypted");
      NX_RETURN_IF_ERROR(Entry(reader.get(), state, depth));
    }
  }

  // Feeds one object from `next`, whose first bytes are `head`.
  absl::Status Object(std::string head, const ByteSource& next) {
    const int64_t sequence = sequence_++;
    Xxh3Hasher hasher;
    ObjectStream::Chunk chunk;
    chunk.sequence = sequence;
    std::string piece = std::move(head);
    while (true) {
      std::string following;
      NX_ASSIGN_OR_RETURN(const bool more, Fill(next, following));
      hasher.Update(piece);
      const std::string digest = hasher.Finish();
      chunk.data = piece;
      chunk.crc32c = Crc32c(piece);
      chunk.last = !more;
      if (chunk.last) chunk.digest = digest;
      NX_RETURN_IF_ERROR(stream_.Add(chunk));
      if (!more) return absl::OkStatus();
      chunk.offset += static_cast<int64_t>(piece.size());
      piece.swap(following);
    }
  }

  // Collects up to kPieceBytes. False: there was nothing left.
  static absl::StatusOr<bool> Fill(const ByteSource& next, std::string& piece) {
    while (piece.size() < kPieceBytes) {
      NX_ASSIGN_OR_RETURN(const absl::string_view bytes, next());
      if (bytes.empty()) break;
      piece.append(bytes.data(), bytes.size());
    }
    return !piece.empty();
  }

 private:
  absl::Status Unreadable(archive* reader, const SourceState& state, absl::string_view what = "") {
    if (!state.status.ok()) return state.status;
    const char* said = archive_error_string(reader);
    return InvalidArgument("ARCHIVE_UNREADABLE",
                           absl::StrCat("entry ", entries_, " cannot be read: ",
                                        what.empty() ? (said != nullptr ? said : "unknown format") : what,
                                        "; what came before it was taken in"),
                           {{"entry", absl::StrCat(entries_)}});
  }

  absl::Status Entry(archive* reader, SourceState& state, int depth) {
    std::string buffer(64 << 10, '\0');
    uint64_t total = 0;
    const ByteSource next = [&]() -> absl::StatusOr<absl::string_view> {
      const la_ssize_t size = archive_read_data(reader, buffer.data(), buffer.size());
      if (size < 0) return Unreadable(reader, state);
      total += static_cast<uint64_t>(size);
      if (total > limits::kObjectMaxBytes) {
        return InvalidArgument("ARCHIVE_UNREADABLE", absl::StrCat("entry ", entries_, " is too large"));
      }
      return absl::string_view(buffer.data(), static_cast<size_t>(size));
    };
    std::string head;
    NX_ASSIGN_OR_RETURN(const bool any, Fill(next, head));
    if (!any) return absl::OkStatus();
    if (!LooksLikeArchive(head)) return Object(std::move(head), next);
    if (depth >= limits::kArchiveMaxNesting) {
      return InvalidArgument("ARCHIVE_UNREADABLE",
                             absl::StrCat("entry ", entries_, ": archives within archives, over ",
                                          limits::kArchiveMaxNesting, " deep"));
    }
    bool head_given = false;
    return Run(
        [&]() -> absl::StatusOr<absl::string_view> {
          if (!head_given) {
            head_given = true;
            return absl::string_view(head);
          }
          return next();
        },
        depth + 1);
  }

  ObjectStream& stream_;
  int64_t& sequence_;
  uint64_t entries_ = 0;
};

}  // namespace

bool LooksLikeArchive(absl::string_view head) {
  if (head.size() > 132 && head.substr(128, 4) == "DICM") return false;
  return absl::StartsWith(head, "PK\x03\x04") || absl::StartsWith(head, "PK\x05\x06") ||
         absl::StartsWith(head, "\x1f\x8b") || absl::StartsWith(head, "BZh") ||
         absl::StartsWith(head,
                          "\xFD"
                          "7zXZ") ||
         absl::StartsWith(head, "\x28\xb5\x2f\xfd") || (head.size() > 262 && head.substr(257, 5) == "ustar");
}

absl::Status ImportArchive(const ByteSource& source, ObjectStream& stream, int64_t* sequence) {
  return Importer(stream, sequence).Run(source, 1);
}

absl::Status ImportObject(const ByteSource& source, ObjectStream& stream, int64_t* sequence) {
  std::string head;
  NX_ASSIGN_OR_RETURN(const bool any, Importer::Fill(source, head));
  return any ? Importer(stream, sequence).Object(std::move(head), source) : absl::OkStatus();
}

}  // namespace narthex::ingest
