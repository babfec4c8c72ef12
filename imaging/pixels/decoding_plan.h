// How compressed pixels are decoded: which transfer syntaxes, and what comes out. Thread-safe.
#pragma once

#include "absl/status/statusor.h"

#include "imaging/dicom/rewriter.h"
#include "imaging/pixels/geometry.h"
#include "imaging/pixels/protocol.h"

namespace narthex::pixels {

// What each frame's job is. `geometry` was read from the header and is that of the decoded pixels then:
// interleaved, with the colours that the decoder leaves. FAILED_PRECONDITION (PIXELS_NOT_EDITABLE): they
// cannot be decoded; the message says why.
absl::StatusOr<FrameJob> PlanDecoding(const dicom::TransferSyntax& syntax, PixelGeometry* geometry);

// Whether pixels stand under `tag`.
bool IsPixels(dicom::Tag tag);

}  // namespace narthex::pixels
