// Feeds the decoder's process without the process: a request (protocol.h) and a frame. What is decoded has
// the size that was asked for. The codecs are other people's; a crash inside them is theirs, and the reason
// why they have a process of their own.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"

#include "imaging/pixels/frame_decoder.h"
#include "imaging/pixels/protocol.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  narthex::pixels::RegisterCodecs();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using narthex::pixels::DecodeResult;
  absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  narthex::pixels::FrameJob job;
  size_t uid_bytes = 0;
  uint64_t compressed_bytes = 0;
  const absl::string_view head = bytes.substr(0, narthex::pixels::kRequestHeadBytes);
  if (narthex::pixels::DecodeRequestHead(head, &job, &uid_bytes, &compressed_bytes)) {
    job.transfer_syntax_uid = std::string(bytes.substr(head.size(), uid_bytes));
    if (narthex::pixels::EncodeRequest(job, compressed_bytes).size() < head.size()) std::abort();
  }
  DecodeResult result;
  uint64_t frame_bytes = 0;
  narthex::pixels::DecodeReplyHead(bytes.substr(0, narthex::pixels::kReplyHeadBytes), &result, &frame_bytes);

  // A small frame whatever the head says: the bytes behind it choose.
  if (size < 8) return 0;
  constexpr const char* kSyntaxes[] = {
      "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70",
      "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5",    "1.2.840.10008.1.2.1.98"};
  job.transfer_syntax_uid = kSyntaxes[data[0] % 8];
  job.rows = 1 + data[1];
  job.columns = 1 + data[2];
  job.samples = (data[3] & 1) != 0 ? 3 : 1;
  job.bits_allocated = (data[3] & 2) != 0 ? 16 : 8;
  job.bits_stored = static_cast<uint16_t>(1 + data[4] % job.bits_allocated);
  job.is_signed = (data[3] & 4) != 0;
  job.colours =
      (data[3] & 8) != 0 ? narthex::pixels::Colours::kYbrToRgb : narthex::pixels::Colours::kAsStored;
  std::string frame;
  if (DecodeFrame(job, bytes.substr(8), &frame) == DecodeResult::kOk && frame.size() != job.FrameBytes())
    std::abort();
  return 0;
}
