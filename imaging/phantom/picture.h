// The picture of the phantom: ellipsoids, cut into slices. Internal.
#pragma once

#include <cstdint>

#include "absl/types/span.h"

#include "imaging/phantom/phantom.h"

namespace narthex::phantom {

// Fills `pixels` (rows * columns, row by row) with the slice at `depth` in [-1, 1] of the phantom for
// `modality`, without noise. The body is about 90 % as wide as the picture.
void DrawSlice(Modality modality, double depth, int rows, int columns, absl::Span<uint16_t> pixels);

}  // namespace narthex::phantom
