// Raw deflate streams (RFC 1951), piece by piece, as deflated transfer syntaxes use them. Thread-compatible.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "base/limit.h"

namespace narthex::dicom {

using PieceSink = std::function<absl::Status(absl::string_view)>;

class InflateStream {
 public:
  explicit InflateStream(Origin origin);
  ~InflateStream();

  // Passes what `piece` inflates to, in pieces of bounded size. INVALID_ARGUMENT (MALFORMED_HEADER): no
  // deflate stream. RESOURCE_EXHAUSTED (HEADER_TOO_LARGE): it grows by more than limits::kInflateMaxRatio.
  // Bytes behind the end of the stream (a padding byte) are ignored.
  absl::Status Add(absl::string_view piece, const PieceSink& sink);
  // The stream was complete.
  bool ended() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class DeflateStream {
 public:
  DeflateStream();
  ~DeflateStream();

  // Passes compressed bytes on, as they become ready.
  absl::Status Add(absl::string_view piece, const PieceSink& sink);
  // Ends the stream, padded to even length.
  absl::Status Finish(const PieceSink& sink);

 private:
  absl::Status Run(absl::string_view piece, int flush, const PieceSink& sink);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace narthex::dicom
