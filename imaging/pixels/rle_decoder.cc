// RLE Lossless (PS3.5 annex G). Not with DCMTK, which reads beyond the frame where the header's offsets lie.
#include <algorithm>
#include <cstring>

#include "imaging/dicom/element_head.h"
#include "imaging/pixels/frame_decoder.h"

namespace narthex::pixels {
namespace {

constexpr size_t kHeaderBytes = 64;
constexpr size_t kSegmentsMax = 15;  // fixed: PS3.5 annex G

// Unpacks `segment` into every `step`-th byte of `out`, `count` of them. False: it holds fewer.
bool Unpack(absl::string_view segment, char* out, size_t count, size_t step) {
  size_t at = 0;
  while (count > 0 && at < segment.size()) {
    const auto control = static_cast<uint8_t>(segment[at++]);
    if (control == 128) continue;  // says nothing
    const bool run = control > 128;
    const size_t wanted = run ? 257u - control : control + 1u;
    const size_t there = segment.size() - at;
    if (there < (run ? 1 : wanted)) return false;
    const size_t used = std::min(wanted, count);
    for (size_t i = 0; i < used; ++i, out += step) *out = segment[run ? at : at + i];
    at += run ? 1 : wanted;
    count -= used;
  }
  return count == 0;
}

}  // namespace

DecodeResult DecodeRle(const FrameJob& job, absl::string_view compressed, std::string* frame) {
  if (compressed.size() < kHeaderBytes) return DecodeResult::kUnreadable;
  const size_t sample_bytes = job.bits_allocated / 8u;
  const size_t segments = dicom::ReadUint32(compressed.data(), false);
  if (segments > kSegmentsMax) return DecodeResult::kUnreadable;
  if (segments != job.samples * sample_bytes) return DecodeResult::kWrongForm;
  const auto offset = [compressed, segments](size_t i) -> size_t {
    return i == segments ? compressed.size() : dicom::ReadUint32(compressed.data() + 4 + 4 * i, false);
  };
  frame->assign(static_cast<size_t>(job.FrameBytes()), '\0');
  const size_t pixels = size_t{job.rows} * job.columns;
  for (size_t i = 0; i < segments; ++i) {
    const size_t begin = offset(i), end = offset(i + 1);
    if (begin < kHeaderBytes || end < begin || end > compressed.size()) return DecodeResult::kUnreadable;
    // The segments of a sample hold its bytes, the highest first.
    const size_t sample = i / sample_bytes, byte = sample_bytes - 1 - i % sample_bytes;
    if (!Unpack(compressed.substr(begin, end - begin), frame->data() + sample * sample_bytes + byte, pixels,
                segments)) {
      return DecodeResult::kUnreadable;
    }
  }
  return DecodeResult::kOk;
}

}  // namespace narthex::pixels
