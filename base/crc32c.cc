#include "base/crc32c.h"

#include <isa-l/crc.h>

namespace narthex {
namespace {

// ISA-L takes an int length; longer data go in pieces.
constexpr size_t kMaxPiece = 1u << 30;  // fixed: the library's argument is an int

}  // namespace

uint32_t Crc32c(absl::string_view data, uint32_t crc) {
  uint32_t state = ~crc;
  while (!data.empty()) {
    const size_t piece = data.size() < kMaxPiece ? data.size() : kMaxPiece;
    // The library does not write through the pointer; its prototype lacks const.
    auto* bytes = reinterpret_cast<unsigned char*>(const_cast<char*>(data.data()));
    state = crc32_iscsi(bytes, static_cast<int>(piece), state);
    data.remove_prefix(piece);
  }
  return ~state;
}

}  // namespace narthex
