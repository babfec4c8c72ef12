// How every change is made: one transaction that notes the request id, does the work, appends the audit event
// and commits, usually in one round trip. A repeated request id is answered with the first answer.
// Thread-safe.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/metadata/pool.h"
#include "storage/metadata/records.h"

namespace narthex::metadata {

enum class CommitOutcome {
  kCommitted,
  kRepeated,  // an earlier transaction with this request id did it
  kUnknown,   // the connection broke while committing: only the request id can tell
};

struct Mutation {
  std::string method;  // what request ids are unique for; never changes its meaning
  Change change;
  std::string project;  // whose audit chain; "": the site's
  std::string action;   // of the audit event; "": none
  std::string object;
  std::string details_json = "{}";
  std::vector<std::string> answer;  // kept with the request id
  std::vector<Statement> first;     // run at once
  // If set: called with the rows of `first`, inside the transaction (one more round trip); may set the fields
  // above in `self`. Its statements run before the commit. An error rolls back.
  std::function<absl::StatusOr<std::vector<Statement>>(const std::vector<Rows>& rows, Mutation& self)> then;
};

struct MutationResult {
  CommitOutcome outcome = CommitOutcome::kCommitted;
  std::vector<std::string> answer;  // kRepeated: the first one
  std::vector<Rows> rows;           // kCommitted: of `first`, then of what `then` returned
};

// Never returns kUnknown: with a request id it repeats until it is settled, else (and when the database stays
// away) it is UNAVAILABLE (COMMIT_UNKNOWN). FAILED_PRECONDITION (REQUEST_ID_REUSED): for another method.
absl::StatusOr<MutationResult> Apply(Pool& pool, Mutation mutation);

// True if `status` is a violation of the named unique index or foreign key.
bool Violates(const absl::Status& status, absl::string_view constraint);

}  // namespace narthex::metadata
