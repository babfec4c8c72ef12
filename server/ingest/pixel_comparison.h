// Whether two contents that came under one SOP Instance UID have the same pixels.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"

#include "imaging/pixels/decoder_process.h"
#include "server/prearchive/prearchive.h"

namespace narthex::ingest {

struct PixelVerdict {
  enum class Kind { kUnknown, kSame, kDifferent, kNone };  // kNone: neither has bulk data
  Kind kind = Kind::kUnknown;
  std::string why;  // kUnknown: what keeps it from being told; no patient value
};

// Compares the samples of two objects of `session`. Where their bytes do not tell, both are read whole and
// their pixels decoded, frame by frame; memory does not grow with them. Blocks; ends with CANCELLED
// (OPERATION_CANCELLED) once `stopping` says so. Errors: those of the staging store. Thread-safe.
absl::StatusOr<PixelVerdict> ComparePixels(prearchive::Prearchive& prearchive, const std::string& session,
                                           const prearchive::ObjectRow& before,
                                           const prearchive::ObjectRow& after,
                                           const std::function<bool()>& stopping,
                                           const pixels::DecoderOptions& options = {});

}  // namespace narthex::ingest
