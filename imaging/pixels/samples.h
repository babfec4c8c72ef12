// What the pixels of an object are, whatever they are encoded in: two objects have the same samples if and
// only if their summaries are equal. Memory does not grow with the object; compressed pixels are decoded
// frame by frame in another process (decoder_process.h).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "imaging/dicom/rewriter.h"
#include "imaging/pixels/decoder_process.h"

namespace narthex::pixels {

struct SampleSummary {
  bool present = false;  // the object has bulk data
  std::string shape;     // "512 x 512 x 1, 3 frames"; of other bulk data than pixels their tag
  std::string colours;   // the space of several samples a pixel, such as "RGB"; else ""
  // XXH3-128 of the samples' values: one digest for each sample of a pixel. Of other bulk data, of the bytes.
  std::vector<std::string> digests;
};

enum class SampleRelation { kSame, kDifferent, kIncomparable };

// kIncomparable: of colours in different spaces nobody can say whether they are the same.
SampleRelation Compare(const SampleSummary& one, const SampleSummary& other);

// Gives the object to `sink`, in order, and passes its errors on.
using ObjectSource = std::function<absl::Status(const std::function<absl::Status(absl::string_view)>& sink)>;

// Reads the whole object. `transfer_syntax_uid` is that of a bare data set. Blocks while frames are decoded.
// FAILED_PRECONDITION (PIXELS_NOT_EDITABLE, PIXEL_DECODING_FAILED): its pixels cannot be decoded, or
// contradict the header. UNAVAILABLE (PIXEL_DECODER_UNAVAILABLE). Other errors as HeaderRewriter and
// `source`.
absl::StatusOr<SampleSummary> SummarizeSamples(const ObjectSource& source,
                                               const std::string& transfer_syntax_uid,
                                               const DecoderOptions& options = {});

}  // namespace narthex::pixels
