// Decodes compressed frames in another process: codecs are large, old and written in C, and what they are fed
// comes from strangers. The process (program narthex-pixels, pixels_main.cc) has no environment, files,
// network or way to start others, little memory, and may crash without harm.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "base/limits_pixels.h"
#include "imaging/pixels/protocol.h"

namespace narthex::pixels {

struct DecoderOptions {
  std::string program;  // path of narthex-pixels; "": DefaultDecoderProgram()
  absl::Duration frame_timeout = absl::Seconds(limits::kPixelFrameSeconds.get());
};

// narthex-pixels beside the running program.
std::string DefaultDecoderProgram();

// One process. Single-threaded.
class DecoderProcess {
 public:
  // Starts it. At most limits::kPixelDecodersMax run at once; waits up to the timeout for a free place.
  // UNAVAILABLE (PIXEL_DECODER_UNAVAILABLE): cannot be started, or no place became free.
  static absl::StatusOr<std::unique_ptr<DecoderProcess>> Start(const DecoderOptions& options);
  // Ends it.
  ~DecoderProcess();
  DecoderProcess(const DecoderProcess&) = delete;
  DecoderProcess& operator=(const DecoderProcess&) = delete;

  // Decodes `compressed`; `put` gets exactly job.frame_bytes bytes, in pieces, and may stop with an error.
  // Blocks. FAILED_PRECONDITION (PIXEL_DECODING_FAILED): the frame is unreadable, is not as `job` says, or
  // the process crashed or took too long. After an error the process must not be used again.
  absl::Status Decode(const FrameJob& job, absl::string_view compressed,
                      absl::FunctionRef<absl::Status(absl::string_view)> put);

 private:
  DecoderProcess(int socket, int pid, absl::Duration timeout)
      : socket_(socket), pid_(pid), timeout_(timeout) {}

  const int socket_;
  const int pid_;
  const absl::Duration timeout_;
};

}  // namespace narthex::pixels
