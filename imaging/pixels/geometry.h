// How the pixels of an object lie in its PixelData, read from its header. Thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "imaging/dicom/rewriter.h"

namespace narthex::pixels {

// PS3.3 C.7.6.3 and PS3.5 section 8. All sizes are bounded so that their products fit into 64 bits.
struct PixelGeometry {
  uint32_t rows = 0;
  uint32_t columns = 0;
  uint32_t samples = 1;  // per pixel: 1 to 4
  uint64_t frames = 1;
  int bits_allocated = 8;  // 1, 8, 16, 32 or 64
  int bits_stored = 8;
  int high_bit = 7;
  bool is_signed = false;
  bool is_float = false;
  bool planar = false;         // all of the first sample, then all of the second, ...
  bool chroma_pairs = false;   // Y1 Y2 Cb Cr for two neighbouring pixels (YBR_FULL_422, YBR_PARTIAL_422)
  bool big_endian = false;     // samples of 16 bits and more
  bool swapped_words = false;  // 1 or 8 bits in words of 16 bits that are big endian
  std::string photometric;     // "MONOCHROME2"

  // Without padding.
  uint64_t FrameBits() const {
    const uint64_t pixels = uint64_t{rows} * columns;
    return chroma_pairs ? pixels * 2 * static_cast<uint64_t>(bits_allocated)
                        : pixels * samples * static_cast<uint64_t>(bits_allocated);
  }
  uint64_t TotalBytes() const { return (FrameBits() * frames + 7) / 8; }
  bool is_ybr() const { return samples == 3 && photometric.substr(0, 4) == "YBR_"; }
};

// Reads and checks the geometry of what stands under `pixel_tag`. FAILED_PRECONDITION (PIXELS_NOT_EDITABLE):
// something is missing, contradicts itself, or is not supported; the message says what.
absl::StatusOr<PixelGeometry> ReadGeometry(const dicom::ObjectHeader& header, dicom::Tag pixel_tag);

// Settles what only the length and the VR of uncompressed pixel data tell: the layout of YBR_FULL_422, and
// the order of bytes. FAILED_PRECONDITION (PIXELS_NOT_EDITABLE): the length fits no layout.
absl::Status SettleNativeLayout(const dicom::ObjectHeader& header, const dicom::BulkHead& bulk,
                                PixelGeometry* geometry);

// FAILED_PRECONDITION (PIXELS_NOT_EDITABLE) with "the pixels cannot be altered: `why`; the object is
// refused"; the metadata have `why` alone.
absl::Status NotEditable(absl::string_view why);

}  // namespace narthex::pixels
