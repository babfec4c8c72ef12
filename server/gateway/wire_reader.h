// Takes bytes from a socket through one buffer that is used again and again.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "server/gateway/socket.h"

namespace narthex::gateway {

// Every call fails with DEADLINE_EXCEEDED or CANCELLED as the current expectation says, with UNAVAILABLE if
// the connection broke, and with OUT_OF_RANGE if the peer ended it. Single-threaded.
class WireReader {
 public:
  // What is buffered at most, and what one receive call takes.
  static constexpr size_t kBufferBytes = 128 << 10;
  // ExpectProgress: so much must come in each period.
  static constexpr uint64_t kProgressBytes = 64 << 10;

  // Borrows both.
  WireReader(Socket& socket, const StopSignal& stop);

  // What comes next must come within `timeout` from now; a stop signal ends the wait (CANCELLED).
  void ExpectWithin(absl::Duration timeout);
  // From now on kProgressBytes must come in each `period`; a stop signal is not minded.
  void ExpectProgress(absl::Duration period);

  // Whether a byte is buffered.
  bool HasBuffered() const { return begin_ < end_; }
  // Waits until `count` (<= kBufferBytes) bytes are buffered, and returns exactly these; valid until the next
  // call.
  absl::StatusOr<absl::string_view> Peek(size_t count);
  // Drops `count` bytes that were peeked.
  void Consume(size_t count) { begin_ += count; }
  // Takes 1 to `max` (> 0) bytes, as many as are there; waits only if there are none. Valid until the next
  // call.
  absl::StatusOr<absl::string_view> Read(uint64_t max);
  // Reads and drops `count` bytes.
  absl::Status Skip(uint64_t count);

  // Bytes received in all.
  uint64_t received_bytes() const { return received_; }

 private:
  // Adds what there is to the buffer.
  absl::Status Fill();

  Socket& socket_;
  const StopSignal& stop_;
  const std::unique_ptr<char[]> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  uint64_t received_ = 0;

  absl::Time deadline_ = absl::InfiniteFuture();
  bool stoppable_ = true;
  absl::Duration period_ = absl::ZeroDuration();  // 0: no progress is expected
  uint64_t period_start_ = 0;                     // received_ when it began
};

}  // namespace narthex::gateway
