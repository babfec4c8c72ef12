// Integers in little and big endian order out of bytes that need not be aligned.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace narthex::dicom {

static_assert(std::endian::native == std::endian::little, "the product runs on little endian machines only");

template <typename T>
inline T LoadLittle(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
inline void StoreLittle(void* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

inline uint16_t SwapBytes(uint16_t value) { return __builtin_bswap16(value); }
inline uint32_t SwapBytes(uint32_t value) { return __builtin_bswap32(value); }
inline uint64_t SwapBytes(uint64_t value) { return __builtin_bswap64(value); }

// Big endian if `big`, else little endian.
template <typename T>
inline T LoadEither(const void* from, bool big) {
  const T value = LoadLittle<T>(from);
  return big ? SwapBytes(value) : value;
}

}  // namespace narthex::dicom
