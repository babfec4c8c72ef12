#include "imaging/dicom/deflate_stream.h"

#include <zlib.h>

#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/limits.h"
#include "base/status.h"

namespace narthex::dicom {
namespace {

constexpr size_t kPieceBytes = 64 << 10;
// Short streams may grow a lot before their ratio means anything.
constexpr uint64_t kRatioFreeBytes = 1 << 20;

}  // namespace

struct InflateStream::State {
  explicit State(Origin origin) : ratio_max(limits::kInflateMaxRatio.For(origin)), buffer(kPieceBytes, '\0') {
    good = inflateInit2(&zlib, -MAX_WBITS) == Z_OK;
  }
  ~State() {
    if (good) inflateEnd(&zlib);
  }
  const uint64_t ratio_max;
  z_stream zlib{};
  bool good = false;
  bool ended = false;
  uint64_t in = 0, out = 0;
  std::string buffer;
};

InflateStream::InflateStream(Origin origin) : state_(std::make_unique<State>(origin)) {}
InflateStream::~InflateStream() = default;
bool InflateStream::ended() const { return state_->ended; }

absl::Status InflateStream::Add(absl::string_view piece, const PieceSink& sink) {
  State& state = *state_;
  if (!state.good) return Internal("INTERNAL", "zlib cannot inflate: out of memory?");
  state.zlib.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(piece.data()));
  state.zlib.avail_in = static_cast<uInt>(piece.size());
  while (!state.ended) {
    state.zlib.next_out = reinterpret_cast<Bytef*>(state.buffer.data());
    state.zlib.avail_out = kPieceBytes;
    const uInt offered = state.zlib.avail_in;
    const int code = inflate(&state.zlib, Z_NO_FLUSH);
    const size_t made = kPieceBytes - state.zlib.avail_out;
    state.ended = code == Z_STREAM_END;
    state.in += offered - state.zlib.avail_in;  // not what was given: that depends on the size of the pieces
    state.out += made;
    if (state.out > kRatioFreeBytes && state.out / state.ratio_max > state.in) {
      return ResourceExhausted("HEADER_TOO_LARGE",
                               "the deflated data set grows beyond all measure; the object is refused");
    }
    if (made > 0) NX_RETURN_IF_ERROR(sink(absl::string_view(state.buffer.data(), made)));
    // What came out before the damage was looked at first, as it is when it comes in a piece of its own.
    if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) {
      return InvalidArgument("MALFORMED_HEADER", "the deflated data set is damaged; send the object again");
    }
    if (state.zlib.avail_out != 0) break;  // the input is used up
  }
  return absl::OkStatus();
}

struct DeflateStream::State {
  State() : buffer(kPieceBytes, '\0') {
    good = deflateInit2(&zlib, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK;
  }
  ~State() {
    if (good) deflateEnd(&zlib);
  }
  z_stream zlib{};
  bool good = false;
  uint64_t out = 0;
  std::string buffer;
};

DeflateStream::DeflateStream() : state_(std::make_unique<State>()) {}
DeflateStream::~DeflateStream() = default;

absl::Status DeflateStream::Run(absl::string_view piece, int flush, const PieceSink& sink) {
  State& state = *state_;
  if (!state.good) return Internal("INTERNAL", "zlib cannot deflate: out of memory?");
  state.zlib.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(piece.data()));
  state.zlib.avail_in = static_cast<uInt>(piece.size());
  do {
    state.zlib.next_out = reinterpret_cast<Bytef*>(state.buffer.data());
    state.zlib.avail_out = kPieceBytes;
    if (deflate(&state.zlib, flush) == Z_STREAM_ERROR) return Internal("INTERNAL", "zlib cannot deflate");
    const size_t made = kPieceBytes - state.zlib.avail_out;
    state.out += made;
    if (made > 0) NX_RETURN_IF_ERROR(sink(absl::string_view(state.buffer.data(), made)));
  } while (state.zlib.avail_out == 0);
  return absl::OkStatus();
}

absl::Status DeflateStream::Add(absl::string_view piece, const PieceSink& sink) {
  return Run(piece, Z_NO_FLUSH, sink);
}

absl::Status DeflateStream::Finish(const PieceSink& sink) {
  NX_RETURN_IF_ERROR(Run({}, Z_FINISH, sink));
  if (state_->out % 2 != 0) return sink(absl::string_view("\0", 1));
  return absl::OkStatus();
}

}  // namespace narthex::dicom
