// How often somebody may fail to say who they are. Thread-safe; memory is bounded.
#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "base/clock.h"

namespace narthex::auth {

// Each key (an address, a user) has limits::kAuthenticationFailuresMax failures, of which one is given back
// each limits::kAuthenticationFailureSeconds.
class FailureLimiter {
 public:
  explicit FailureLimiter(const Clock& clock) : clock_(clock) {}

  // False: this key failed too often of late.
  bool MayTry(absl::string_view key) const;
  void Fail(absl::string_view key);
  size_t size() const;

 private:
  // When all failures will have been given back.
  absl::Time FullAt(absl::string_view key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Clock& clock_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, absl::Time> full_at_ ABSL_GUARDED_BY(mutex_);
};

// What of gRPC's peer text counts as one address: "ipv4:10.0.0.1:5000" gives 10.0.0.1; of IPv6 the first 64
// bits, which one customer has; anything else ("unix:", "inproc") as it is.
std::string AddressKey(absl::string_view peer);

}  // namespace narthex::auth
