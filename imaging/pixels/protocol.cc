#include "imaging/pixels/protocol.h"

#include "base/limits.h"
#include "base/limits_pixels.h"

namespace narthex::pixels {
namespace {

constexpr absl::string_view kRequestMagic = "NXP1";
constexpr absl::string_view kReplyMagic = "NXR1";

void AppendNumber(uint64_t value, int bytes, std::string* out) {
  for (int i = 0; i < bytes; ++i) out->push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

uint64_t TakeNumber(absl::string_view* bytes, size_t count) {
  uint64_t value = 0;
  for (size_t i = 0; i < count; ++i) value |= uint64_t{static_cast<uint8_t>((*bytes)[i])} << (8 * i);
  bytes->remove_prefix(count);
  return value;
}

}  // namespace

std::string EncodeRequest(const FrameJob& job, uint64_t compressed_bytes) {
  std::string out(kRequestMagic);
  AppendNumber(job.rows, 4, &out);
  AppendNumber(job.columns, 4, &out);
  AppendNumber(job.samples, 2, &out);
  AppendNumber(job.bits_allocated, 2, &out);
  AppendNumber(job.bits_stored, 2, &out);
  AppendNumber(job.is_signed ? 1 : 0, 1, &out);
  AppendNumber(static_cast<uint8_t>(job.colours), 1, &out);
  AppendNumber(compressed_bytes, 8, &out);
  AppendNumber(job.FrameBytes(), 8, &out);
  AppendNumber(job.transfer_syntax_uid.size(), 1, &out);
  out.resize(kRequestHeadBytes, '\0');
  return out + job.transfer_syntax_uid;
}

bool DecodeRequestHead(absl::string_view head, FrameJob* job, size_t* uid_bytes, uint64_t* compressed_bytes) {
  if (head.size() != kRequestHeadBytes || head.substr(0, 4) != kRequestMagic) return false;
  head.remove_prefix(4);
  job->rows = static_cast<uint32_t>(TakeNumber(&head, 4));
  job->columns = static_cast<uint32_t>(TakeNumber(&head, 4));
  job->samples = static_cast<uint16_t>(TakeNumber(&head, 2));
  job->bits_allocated = static_cast<uint16_t>(TakeNumber(&head, 2));
  job->bits_stored = static_cast<uint16_t>(TakeNumber(&head, 2));
  job->is_signed = TakeNumber(&head, 1) != 0;
  job->colours = TakeNumber(&head, 1) == 1 ? Colours::kYbrToRgb : Colours::kAsStored;
  *compressed_bytes = TakeNumber(&head, 8);
  const uint64_t frame_bytes = TakeNumber(&head, 8);
  *uid_bytes = static_cast<size_t>(TakeNumber(&head, 1));
  const bool bits = (job->bits_allocated == 8 || job->bits_allocated == 16 || job->bits_allocated == 32) &&
                    job->bits_stored >= 1 && job->bits_stored <= job->bits_allocated;
  return bits && job->rows >= 1 && job->rows <= 65'535 && job->columns >= 1 && job->columns <= 65'535 &&
         (job->samples == 1 || job->samples == 3) && frame_bytes == job->FrameBytes() &&
         frame_bytes <= limits::kFrameMaxBytes && *compressed_bytes <= limits::kFrameMaxBytes &&
         *uid_bytes <= limits::kUidMaxBytes;
}

std::string EncodeReplyHead(DecodeResult result, uint64_t frame_bytes) {
  std::string out(kReplyMagic);
  AppendNumber(static_cast<uint32_t>(result), 4, &out);
  AppendNumber(frame_bytes, 8, &out);
  return out;
}

bool DecodeReplyHead(absl::string_view head, DecodeResult* result, uint64_t* frame_bytes) {
  if (head.size() != kReplyHeadBytes || head.substr(0, 4) != kReplyMagic) return false;
  head.remove_prefix(4);
  *result = static_cast<DecodeResult>(TakeNumber(&head, 4));
  *frame_bytes = TakeNumber(&head, 8);
  return true;
}

}  // namespace narthex::pixels
