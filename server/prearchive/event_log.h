// Every change of every prearchive session, numbered, replayable. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "server/prearchive/rows.pb.h"
#include "storage/staging/index.h"

namespace narthex::prearchive {

class EventLog {
 public:
  struct Entry {
    int64_t sequence;
    EventRow row;
  };

  // Goes on behind the last event of `index`, which is borrowed.
  static absl::StatusOr<std::unique_ptr<EventLog>> Open(staging::Index& index);

  // Adds an event to `batch`. It gets the next number now and is seen by watchers after Publish(number),
  // which the caller MUST call once the batch was written (or failed: numbers may be left out).
  int64_t Add(const EventRow& row, staging::IndexBatch& batch);
  void Publish(int64_t sequence);

  // OUT_OF_RANGE (EVENTS_UNAVAILABLE): events from `from` on are not all kept any more, or the number was
  // never reached. A reader MUST ask before its first Read, and whenever it has been away.
  absl::Status Covers(int64_t from) const;

  // Events with number >= `from`, at most `limit`, in order; waits until `deadline` for the first one. Empty:
  // none came. An event is never given before all earlier ones are visible.
  absl::StatusOr<std::vector<Entry>> Read(int64_t from, int limit, absl::Time deadline) const;

  // The number that the next event will get.
  int64_t NextSequence() const;

  // Wakes all readers up; they return at once from now on.
  void Close();

 private:
  explicit EventLog(staging::Index& index) : index_(index) {}
  // All events below this number were published.
  int64_t VisibleEnd() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  staging::Index& index_;
  mutable absl::Mutex mutex_;
  int64_t next_ ABSL_GUARDED_BY(mutex_) = 1;
  int64_t oldest_ ABSL_GUARDED_BY(mutex_) = 1;    // the first that is kept
  int64_t reserved_ ABSL_GUARDED_BY(mutex_) = 1;  // numbers below it may have been given out
  std::vector<int64_t> unpublished_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace narthex::prearchive
