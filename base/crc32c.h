// CRC-32C (Castagnoli, RFC 3720 appendix B.4), as upload chunks and segment records carry it.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace narthex {

// The CRC-32C of `data`. To go on over several pieces, pass the former result as `crc`.
// Crc32c("123456789") == 0xE3069283.
uint32_t Crc32c(absl::string_view data, uint32_t crc = 0);

}  // namespace narthex
