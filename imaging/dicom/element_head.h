// The bytes before a value: tag, VR and length (PS3.5 section 7.1). Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

#include "imaging/dicom/dataset.h"

namespace narthex::dicom {

inline constexpr uint32_t kUndefinedLength = 0xffffffff;

struct ElementHead {
  Tag tag;
  Vr vr = Vr::kUN;       // implicit VR: kUN; items and delimiters: kUN
  bool vr_read = false;  // `vr` stood in the stream
  uint32_t length = 0;
  uint32_t bytes = 0;  // of the head itself: 8 or 12
};

inline uint16_t ReadUint16(const char* at, bool big_endian) {
  const auto* p = reinterpret_cast<const uint8_t*>(at);
  return static_cast<uint16_t>(big_endian ? p[0] << 8 | p[1] : p[1] << 8 | p[0]);
}

inline uint32_t ReadUint32(const char* at, bool big_endian) {
  const uint32_t first = ReadUint16(at, big_endian);
  const uint32_t second = ReadUint16(at + 2, big_endian);
  return big_endian ? first << 16 | second : second << 16 | first;
}

// Reads the head at the beginning of `bytes`. False: more bytes are needed. An element of explicit VR whose
// VR is no two letters is read as implicit VR, as some writers have it; an unknown VR has a long length if
// its reserved bytes are zero.
bool ReadElementHead(absl::string_view bytes, Encoding encoding, ElementHead* head);

// Whether a value of undefined length under this head is encapsulated fragments; else it is a sequence.
bool HoldsFragments(const ElementHead& head);

// Whether the items that `inside` begins with are written in `encoding`, that of the explicit data set that
// holds them under a head of VR UN and undefined length: they show a VR. Some writers kept it so; PS3.5
// section 6.2.2 wants implicit VR little endian. Needs kUnknownLookBytes, or all there are to the object's
// end; then what stands behind the sequence makes no difference.
inline constexpr size_t kUnknownLookBytes = 16;
bool ShowsExplicitVr(absl::string_view inside, Encoding encoding);

}  // namespace narthex::dicom
