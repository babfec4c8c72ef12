// How much may be done at once, and how it is shared out: what is too much is refused at once with
// OVERLOADED, so that a sender tries again later and what was let in goes on at full speed. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

#include "base/limits.h"
#include "base/limits_server.h"
#include "server/ingest/places.h"

namespace narthex::ingest {

// Whose share it is that comes from `address` through a gateway whose user is `user`: a gateway's senders are
// not one user. No user has such a name. AE titles take no part, as every sender chooses its own.
std::string SenderBehind(absl::string_view user, absl::string_view address);

class Admission {
 public:
  // Streams that bring objects.
  Places& uploads() { return uploads_; }
  // Calls that last and bring none: watches, waits, downloads, exports. Each holds a thread.
  Places& long_calls() { return long_calls_; }
  // All calls with one answer; only a user's share of them is limited.
  Places& calls() { return calls_; }

  // Takes `bytes` of the memory for objects that cannot be written yet, as their headers are not complete.
  // Nobody may hold more than is left free: one sender alone has a half of it, n of them have 1/(n+1) each,
  // and whoever comes finds some. RESOURCE_EXHAUSTED (OVERLOADED): nothing was taken.
  absl::Status Hold(absl::string_view sender, uint64_t bytes);
  void Release(absl::string_view sender, uint64_t bytes);

  // Holds for what comes.
  void SetHeldBytesMax(uint64_t bytes) { held_bytes_max_ = bytes; }
  uint64_t held_bytes() const;

 private:
  Places uploads_{"upload_streams", "upload streams", limits::kUploadStreamsMax,
                  limits::kUploadStreamsPerUserMax};
  Places long_calls_{"long_calls", "watches, waits and downloads", limits::kLongCallsMax,
                     limits::kLongCallsPerUserMax};
  Places calls_{"calls", "calls under way", std::numeric_limits<int>::max(), limits::kCallsPerUserMax};
  std::atomic<uint64_t> held_bytes_max_{limits::kHeldBytesMax};
  mutable absl::Mutex mutex_;
  uint64_t held_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<std::string, uint64_t> held_by_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace narthex::ingest
