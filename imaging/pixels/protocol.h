// What is said between the server and the decoder process, over one socket: a request, then a reply, then the
// next request.
//
//   request   64 bytes: "NXP1", rows u32, columns u32, samples u16, bits allocated u16, bits stored u16,
//             is signed u8, colours u8, compressed bytes u64, frame bytes u64, length of the UID u8, 0...;
//             then the transfer syntax UID (at most 64 bytes) and the compressed frame
//   reply     16 bytes: "NXR1", result u32, frame bytes u64; then the frame, if the result is 0
//
// All numbers little endian. The frame comes back interleaved and little endian. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace narthex::pixels {

// What colours a frame of three samples must have when it is decoded.
enum class Colours : uint8_t {
  kAsStored = 0,  // as they are in the stream: RGB, or luminance and colours without conversion
  kYbrToRgb = 1,  // the stream has luminance and colours; convert
};

// How one frame is compressed, and what must come out.
struct FrameJob {
  std::string transfer_syntax_uid;
  uint32_t rows = 0;
  uint32_t columns = 0;
  uint16_t samples = 1;
  uint16_t bits_allocated = 8;  // 8, 16, or 32 (RLE only)
  uint16_t bits_stored = 8;
  bool is_signed = false;
  Colours colours = Colours::kAsStored;

  uint64_t FrameBytes() const { return uint64_t{rows} * columns * samples * (bits_allocated / 8u); }
};

enum class DecodeResult : uint32_t {
  kOk = 0,
  kUnreadable = 1,   // the codec gave up
  kWrongForm = 2,    // size, samples or bits are not as the job says
  kUnsupported = 3,  // no codec for this transfer syntax or this variant
  kNoMemory = 4,
  kBadRequest = 5,
};

inline constexpr size_t kRequestHeadBytes = 64;
inline constexpr size_t kReplyHeadBytes = 16;

// The head of a request and the UID behind it.
std::string EncodeRequest(const FrameJob& job, uint64_t compressed_bytes);

// Reads a request's head (kRequestHeadBytes). False: it is none, or beyond the limits. `uid_bytes` follow it.
bool DecodeRequestHead(absl::string_view head, FrameJob* job, size_t* uid_bytes, uint64_t* compressed_bytes);

std::string EncodeReplyHead(DecodeResult result, uint64_t frame_bytes);
// False: no reply.
bool DecodeReplyHead(absl::string_view head, DecodeResult* result, uint64_t* frame_bytes);

}  // namespace narthex::pixels
