// A raw deflate stream (PS3.5 annex A.5) piece by piece, with a bound on its growth. Internal.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/limit.h"

namespace narthex::dicom {

// Single-threaded.
class Inflater {
 public:
  explicit Inflater(Origin origin);
  ~Inflater();
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // Takes from the front of `*input` and returns what that became, "" if all of it was taken and no more
  // comes out. The view lives until the next call. Errors: MALFORMED_HEADER, HEADER_TOO_LARGE
  // (limits::kInflateMaxRatio).
  absl::StatusOr<absl::string_view> Next(absl::string_view* input);

  // The stream has come to its own end; further input is ignored.
  bool finished() const { return finished_; }

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
  const uint64_t ratio_max_;
  bool finished_ = false;
  bool corrupt_ = false;
  uint64_t taken_bytes_ = 0;
  uint64_t given_bytes_ = 0;
};

}  // namespace narthex::dicom
