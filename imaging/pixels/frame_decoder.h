// Decodes one compressed frame. Linked into the decoder's process only (and its tests): a hostile frame may
// crash it. Single-threaded.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

#include "imaging/pixels/protocol.h"

namespace narthex::pixels {

// Makes the codecs ready; to be called once, before DecodeFrame.
void RegisterCodecs();

// Decodes `compressed` as `job` says. With kOk `frame` holds exactly job.FrameBytes() bytes: samples of a
// pixel side by side, little endian.
DecodeResult DecodeFrame(const FrameJob& job, absl::string_view compressed, std::string* frame);

// The same for JPEG 2000 (also in a JP2 file, and HTJ2K), with OpenJPEG.
DecodeResult DecodeJpeg2000(const FrameJob& job, absl::string_view compressed, std::string* frame);

// The same for RLE Lossless.
DecodeResult DecodeRle(const FrameJob& job, absl::string_view compressed, std::string* frame);

}  // namespace narthex::pixels
