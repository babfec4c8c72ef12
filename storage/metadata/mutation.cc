#include "storage/metadata/mutation.h"

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "base/error.h"
#include "base/status.h"

namespace narthex::metadata {
namespace {

constexpr int kSettleAttempts = 6;

Statement NoteRequest(const Mutation& mutation) {
  Statement note("INSERT INTO requests (request_id, method, answer) VALUES ($1, $2, $3)");
  note.Text(mutation.change.request_id).Text(mutation.method).TextArray(mutation.answer);
  return note;
}

void AppendEnd(const Mutation& mutation, std::vector<Statement>& batch) {
  if (!mutation.action.empty()) {
    Statement audit("SELECT sequence FROM append_audit($1, $2, $3, $4, $5)");
    audit.Text(mutation.project).Text(mutation.change.user).Text(mutation.action).Text(mutation.object);
    batch.push_back(std::move(audit.Text(mutation.details_json)));
  }
  batch.emplace_back("COMMIT");
}

// Keeps the rows of the caller's own statements.
void Keep(std::vector<Rows>& all, size_t begin, size_t count, std::vector<Rows>& kept) {
  for (size_t i = begin; i < begin + count; ++i) kept.push_back(std::move(all[i]));
}

// One attempt. `committing` tells whether COMMIT was sent.
absl::StatusOr<std::vector<Rows>> Attempt(Connection& connection, Mutation& mutation, bool& committing) {
  const bool noted = !mutation.change.request_id.empty();
  std::vector<Statement> batch;
  batch.emplace_back("BEGIN");
  // With a second step the answer is only known then; the note is written with it.
  if (noted && !mutation.then) batch.push_back(NoteRequest(mutation));
  const size_t begin = batch.size();
  for (const Statement& statement : mutation.first) batch.push_back(statement);
  if (!mutation.then) AppendEnd(mutation, batch);
  committing = !mutation.then;
  NX_ASSIGN_OR_RETURN(std::vector<Rows> all, connection.Run(batch));
  std::vector<Rows> kept;
  Keep(all, begin, mutation.first.size(), kept);
  if (!mutation.then) return kept;

  absl::StatusOr<std::vector<Statement>> more = mutation.then(kept, mutation);
  if (!more.ok()) {
    (void)connection.RunScript("ROLLBACK");  // a connection that stays inside is thrown away
    return more.status();
  }
  std::vector<Statement> last;
  if (noted) last.push_back(NoteRequest(mutation));
  const size_t count = more->size();
  for (Statement& statement : *more) last.push_back(std::move(statement));
  AppendEnd(mutation, last);
  committing = true;
  NX_ASSIGN_OR_RETURN(all, connection.Run(last));
  Keep(all, noted ? 1 : 0, count, kept);
  return kept;
}

absl::StatusOr<MutationResult> FirstAnswer(Pool& pool, const Mutation& mutation) {
  Statement find("SELECT method, answer FROM requests WHERE request_id = $1");
  NX_ASSIGN_OR_RETURN(Rows rows, pool.Read(find.Text(mutation.change.request_id)));
  if (rows.size() == 0) return Internal("REQUEST_LOST", "a noted request id is gone", {});
  if (rows.View(0, 0) != mutation.method) {
    return FailedPrecondition("REQUEST_ID_REUSED",
                              absl::StrCat("request id was used for ", rows.View(0, 0), ", not ",
                                           mutation.method, "; take a new one"),
                              {{"method", rows.Text(0, 0)}});
  }
  return MutationResult{CommitOutcome::kRepeated, rows.Texts(0, 1), {}};
}

absl::StatusOr<bool> WasNoted(Pool& pool, const Mutation& mutation) {
  Statement find("SELECT 1 FROM requests WHERE request_id = $1");
  NX_ASSIGN_OR_RETURN(Rows rows, pool.Read(find.Text(mutation.change.request_id)));
  return rows.size() > 0;
}

// Whether an earlier attempt committed after all. Waits for it if PostgreSQL still works on it: the note of
// the same request id waits for the other's end.
absl::StatusOr<bool> Settle(Connection& connection, const Mutation& mutation) {
  const absl::Status noted =
      connection.Run({Statement("BEGIN"), NoteRequest(mutation), Statement("ROLLBACK")}).status();
  if (Violates(noted, "requests_pkey")) return true;
  if (!noted.ok()) return noted;
  return false;
}

}  // namespace

bool Violates(const absl::Status& status, absl::string_view constraint) {
  if (ErrorReason(status) != "UNIQUE_VIOLATION" && ErrorReason(status) != "REFERENCE_VIOLATION") return false;
  return ErrorMetadataOf(status)["constraint"] == constraint;
}

absl::StatusOr<MutationResult> Apply(Pool& pool, Mutation mutation) {
  const bool repeatable = !mutation.change.request_id.empty();
  // Two-step changes look first: their second step may no longer make sense when it was done before.
  if (repeatable && mutation.then) {
    NX_ASSIGN_OR_RETURN(const bool noted, WasNoted(pool, mutation));
    if (noted) return FirstAnswer(pool, mutation);
  }
  bool committing = false;
  absl::Status status;
  for (int i = 0; i < kSettleAttempts; ++i) {
    if (i > 0) absl::SleepFor(absl::Milliseconds(50 << i));
    absl::StatusOr<Pool::Lease> lease = pool.Acquire();
    if (!lease.ok()) {
      if (committing) break;  // unknown stays unknown
      return lease.status();
    }
    // The second step of what was done already would refuse it: it sees what it did itself.
    if (committing && repeatable && mutation.then) {
      const absl::StatusOr<bool> done = Settle(**lease, mutation);
      if (done.ok() && *done) return FirstAnswer(pool, mutation);
      if (!done.ok()) {
        if (!IsConnectionLost(done.status())) break;
        continue;
      }
    }
    bool sent = false;
    absl::StatusOr<std::vector<Rows>> rows = Attempt(**lease, mutation, sent);
    if (rows.ok()) return MutationResult{CommitOutcome::kCommitted, mutation.answer, *std::move(rows)};
    status = rows.status();
    if (Violates(status, "requests_pkey")) return FirstAnswer(pool, mutation);
    if (!IsConnectionLost(status)) {
      if (!committing || !repeatable || !mutation.then) return status;
      const absl::StatusOr<bool> noted = WasNoted(pool, mutation);
      if (!noted.ok()) break;
      return *noted ? FirstAnswer(pool, mutation) : status;
    }
    committing |= sent;
    if (committing && !repeatable) break;
  }
  if (!committing) return status;
  return Error(
      absl::StatusCode::kUnavailable, "COMMIT_UNKNOWN",
      repeatable
          ? "the connection to PostgreSQL broke while committing; repeat the call with the same request "
            "id to learn what happened"
          : "the connection to PostgreSQL broke while committing; look whether the change was made");
}

}  // namespace narthex::metadata
