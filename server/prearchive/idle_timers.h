// Fires when a session has been idle for long enough. Costs nothing while nothing is due. Thread-safe.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "base/clock.h"

namespace narthex::prearchive {

class IdleTimers {
 public:
  // `fire` is called on the timers' own thread with the id of a session whose time has come; it may arm
  // again.
  IdleTimers(const Clock& clock, std::function<void(const std::string&)> fire);
  ~IdleTimers();

  // Sets the timer of `session`, or moves it nearer. One that is due earlier fires then; `fire` finds that it
  // is too early and arms again.
  void Arm(absl::string_view session, absl::Time due);
  void Disarm(absl::string_view session);
  // Fires what is due now, on the calling thread. For tests with a fake clock.
  void FireDue();

 private:
  void Run();
  std::vector<std::string> TakeDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Clock& clock_;
  const std::function<void(const std::string&)> fire_;
  absl::Mutex mutex_;
  std::set<std::pair<absl::Time, std::string>> queue_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, absl::Time> due_ ABSL_GUARDED_BY(mutex_);
  bool changed_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace narthex::prearchive
