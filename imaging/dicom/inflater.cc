#include "imaging/dicom/inflater.h"

#include <zlib.h>

#include <algorithm>

#include "base/error.h"
#include "base/limits.h"

namespace narthex::dicom {
namespace {

constexpr size_t kPieceBytes = 64 << 10;
// Below this much output the ratio says nothing yet.
constexpr uint64_t kRatioFreeBytes = 1 << 20;

absl::Status Corrupt() {
  return InvalidArgument("MALFORMED_HEADER", "the deflated data set is corrupt; send the object again");
}

}  // namespace

struct Inflater::Stream {
  z_stream z{};
  char piece[kPieceBytes];
};

Inflater::Inflater(Origin origin)
    : stream_(std::make_unique<Stream>()), ratio_max_(limits::kInflateMaxRatio.For(origin)) {
  // Negative: no zlib header. Fails only without memory; Next() then reports the stream as corrupt.
  inflateInit2(&stream_->z, -MAX_WBITS);
}

Inflater::~Inflater() { inflateEnd(&stream_->z); }

absl::StatusOr<absl::string_view> Inflater::Next(absl::string_view* input) {
  if (finished_) {
    *input = {};
    return absl::string_view();
  }
  if (corrupt_) return Corrupt();
  z_stream& z = stream_->z;
  const auto offered = static_cast<uInt>(std::min<size_t>(input->size(), 1u << 30));
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input->data()));
  z.avail_in = offered;
  z.next_out = reinterpret_cast<Bytef*>(stream_->piece);
  z.avail_out = kPieceBytes;
  const int result = inflate(&z, Z_NO_FLUSH);
  corrupt_ = result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR;
  // What came out before the damage counts: the header may be over before it.
  if (corrupt_ && z.avail_out == kPieceBytes) return Corrupt();
  finished_ = result == Z_STREAM_END;
  input->remove_prefix(offered - z.avail_in);
  taken_bytes_ += offered - z.avail_in;
  const size_t given = kPieceBytes - z.avail_out;
  given_bytes_ += given;
  if (given_bytes_ > kRatioFreeBytes && given_bytes_ / ratio_max_ > taken_bytes_) {
    return InvalidArgument("HEADER_TOO_LARGE",
                           "the deflated data set grows beyond any sensible ratio; refused");
  }
  return absl::string_view(stream_->piece, given);
}

}  // namespace narthex::dicom
