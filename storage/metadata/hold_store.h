// Who works on the files of an archived session: merges, renames that move its folder, purges. Kept in the
// database, so that it holds over all servers of an archive, and over a crash: an operation that was
// interrupted ends before anybody else touches the files. Changes of rows alone need none. Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace narthex::metadata {

struct SessionHold {
  std::string session;  // accession id
  std::string holder;   // id of the operation
  std::string purpose;  // "merge", "rename", ...
  absl::Time create_time;
};

class HoldStore {
 public:
  virtual ~HoldStore() = default;

  // Takes the session for `holder`. OK also if it has it already. Durable when it returns; waits for nobody.
  // ABORTED (SESSION_BUSY, metadata "session", "operation"): another one has it.
  virtual absl::Status Hold(absl::string_view accession_id, absl::string_view holder,
                            absl::string_view purpose) = 0;

  // Gives back all that `holder` has. OK if that is nothing. Durable when it returns.
  virtual absl::Status Release(absl::string_view holder) = 0;

  // By age, the oldest first.
  virtual absl::StatusOr<std::vector<SessionHold>> ListHolds() = 0;
};

// The error of Hold.
absl::Status SessionHeld(const SessionHold& hold);

}  // namespace narthex::metadata
