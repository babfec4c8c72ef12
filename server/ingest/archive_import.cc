#include "server/ingest/archive_import.h"

#include <utility>

#include "base/status.h"

namespace narthex::ingest {
namespace {

constexpr size_t kPieceBytes = 1 << 20;

// Collects up to kPieceBytes. False: there was nothing left.
absl::StatusOr<bool> Fill(const ByteSource& next, std::string& piece) {
  while (piece.size() < kPieceBytes) {
    NX_ASSIGN_OR_RETURN(const absl::string_view bytes, next());
    if (bytes.empty()) break;
    piece.append(bytes.data(), bytes.size());
  }
  return !piece.empty();
}

}  // namespace

absl::Status ImportObject(const ByteSource& source, ObjectStream& stream, int64_t* sequence) {
  std::string piece;
  NX_ASSIGN_OR_RETURN(bool more, Fill(source, piece));
  if (!more) return absl::OkStatus();
  ObjectStream::Chunk chunk;
  chunk.own = true;
  chunk.sequence = *sequence;
  while (true) {
    std::string following;
    NX_ASSIGN_OR_RETURN(more, Fill(source, following));
    chunk.data = piece;
    chunk.last = !more;
    // Counted with its first piece: one that cannot be read to here was never begun, and has no outcome.
    if (chunk.offset == 0) ++*sequence;
    NX_RETURN_IF_ERROR(stream.Add(chunk));
    if (!more) return absl::OkStatus();
    chunk.offset += static_cast<int64_t>(piece.size());
    piece.swap(following);
  }
}

absl::Status ImportArchive(const ByteSource& source, ObjectStream& stream, int64_t* sequence) {
  return WalkArchive(source, [&](const std::string&, const ByteSource& bytes) {
    return ImportObject(bytes, stream, sequence);
  });
}

}  // namespace narthex::ingest
