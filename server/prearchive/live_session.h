// A prearchive session that somebody is working with: its row and what is in flight, behind one lock.
#pragma once

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "server/prearchive/rows.pb.h"
#include "server/prearchive/state_machine.h"
#include "storage/staging/staging.h"

namespace narthex::prearchive {

// What became of an object whose bytes others rely on.
enum class Fate { kOpen, kEntered, kGivenUp };

// An instance whose bytes are being appended or wait for their sync. Not yet in the index.
struct PendingInstance {
  bool decided = false;         // bytes are complete
  std::string digest;           // XXH3-128 of what was received
  std::string data_set_digest;  // the same, behind the meta group
  std::shared_ptr<Fate> fate;   // set by the first who relies on it; guarded by the session's mutex
};

// Shared by everybody who works with the session. Thread-safe through `mutex`.
struct LiveSession {
  explicit LiveSession(std::string id) : id(std::move(id)) {}

  const std::string id;
  absl::Mutex mutex;
  SessionRow row ABSL_GUARDED_BY(mutex);
  // The row is in the index. Before its first object is durable a session does not exist for anybody else.
  bool persisted ABSL_GUARDED_BY(mutex) = false;
  bool gone ABSL_GUARDED_BY(mutex) = false;
  int in_flight ABSL_GUARDED_BY(mutex) = 0;  // objects begun and not yet committed or given up
  absl::flat_hash_map<std::string, PendingInstance> pending ABSL_GUARDED_BY(mutex);
  std::shared_ptr<staging::SessionLog> log ABSL_GUARDED_BY(mutex);
  absl::Time last_event ABSL_GUARDED_BY(mutex) = absl::InfinitePast();

  State state() const ABSL_SHARED_LOCKS_REQUIRED(mutex) { return static_cast<State>(row.state()); }
};

// NOT_FOUND (PREARCHIVE_SESSION_NOT_FOUND), and FAILED_PRECONDITION (ILLEGAL_STATE).
absl::Status NoSession(absl::string_view id);
absl::Status Illegal(const SessionRow& row, Event event);

}  // namespace narthex::prearchive
