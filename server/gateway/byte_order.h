// Integers in bytes, as the network and DICOM write them.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace narthex::gateway {

inline uint8_t ByteAt(absl::string_view bytes, size_t at) { return static_cast<uint8_t>(bytes[at]); }

inline uint16_t BigU16(absl::string_view bytes, size_t at) {
  return static_cast<uint16_t>(ByteAt(bytes, at) << 8 | ByteAt(bytes, at + 1));
}
inline uint32_t BigU32(absl::string_view bytes, size_t at) {
  return static_cast<uint32_t>(BigU16(bytes, at)) << 16 | BigU16(bytes, at + 2);
}
inline uint16_t LittleU16(absl::string_view bytes, size_t at) {
  return static_cast<uint16_t>(ByteAt(bytes, at + 1) << 8 | ByteAt(bytes, at));
}
inline uint32_t LittleU32(absl::string_view bytes, size_t at) {
  return static_cast<uint32_t>(LittleU16(bytes, at + 2)) << 16 | LittleU16(bytes, at);
}

inline void AppendBigU16(uint16_t value, std::string& out) {
  out.push_back(static_cast<char>(value >> 8));
  out.push_back(static_cast<char>(value));
}
inline void AppendBigU32(uint32_t value, std::string& out) {
  AppendBigU16(static_cast<uint16_t>(value >> 16), out);
  AppendBigU16(static_cast<uint16_t>(value), out);
}
inline void AppendLittleU16(uint16_t value, std::string& out) {
  out.push_back(static_cast<char>(value));
  out.push_back(static_cast<char>(value >> 8));
}
inline void AppendLittleU32(uint32_t value, std::string& out) {
  AppendLittleU16(static_cast<uint16_t>(value), out);
  AppendLittleU16(static_cast<uint16_t>(value >> 16), out);
}

}  // namespace narthex::gateway
