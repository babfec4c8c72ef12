// Limits of the product, continued: pixels that are decoded to be altered.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/limit.h"

namespace narthex::limits {

// Pixels that are decoded to be altered. Where a project's script blanks pixels these hold for the archiving
// of what is stored, too: a session beyond them is refused by name and waits unharmed.
inline constinit Limit<uint64_t> kFrameMaxBytes{
    512 << 20, 1 << 20, 4ll << 30};  // one frame, compressed or not; mammograms have 50 MB
inline constinit Limit<uint64_t> kPixelDecoderMemoryBytes{
    4ll << 30, 256 << 20, 1ll << 40};                             // address space; JPEG 2000 needs 5 frames
inline constinit Limit<int> kPixelDecodersMax{4, 1, 1000};        // decoder processes at once
inline constinit Limit<int64_t> kPixelFrameSeconds{60, 1, 3600};  // for one frame, and for a free decoder
inline constinit Limit<uint64_t> kPixelDecoderCpuSeconds{3600, 1, 86400};  // of one object's frames

}  // namespace narthex::limits
