// Holds in PostgreSQL.
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"
#include "storage/metadata/postgres_stores.h"

namespace narthex::metadata {

absl::Status SessionHeld(const SessionHold& hold) {
  return Error(absl::StatusCode::kAborted, "SESSION_BUSY",
               absl::StrCat("session ", hold.session, " is being worked on (", hold.purpose, ", operation ",
                            hold.holder, "); try again when that has ended"),
               {{"session", hold.session}, {"operation", hold.holder}});
}

namespace {

class PostgresHoldStore : public HoldStore {
 public:
  explicit PostgresHoldStore(Pool& pool) : pool_(pool) {}

  absl::Status Hold(absl::string_view accession_id, absl::string_view holder,
                    absl::string_view purpose) override {
    Statement take(
        "INSERT INTO session_holds (session_id, holder, purpose) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING");
    take.Text(accession_id).Text(holder).Text(purpose);
    Statement look(
        "SELECT session_id, holder, purpose, unix_us(create_time) FROM session_holds WHERE session_id = $1");
    look.Text(accession_id);
    const std::vector<Statement> batch = {std::move(take), std::move(look)};
    // Repeatable: the same holder gets the same answer.
    NX_ASSIGN_OR_RETURN(const std::vector<Rows> rows, pool_.Read(batch));
    if (rows[1].size() == 0) {
      return Error(absl::StatusCode::kAborted, "TRANSACTION_CONFLICT",
                   "the session was released just now; try again");
    }
    const SessionHold found = ToHold(rows[1], 0);
    return found.holder == holder ? absl::OkStatus() : SessionHeld(found);
  }

  absl::Status Release(absl::string_view holder) override {
    Statement release("DELETE FROM session_holds WHERE holder = $1");
    return pool_.Read(release.Text(holder)).status();  // may be repeated
  }

  absl::StatusOr<std::vector<SessionHold>> ListHolds() override {
    NX_ASSIGN_OR_RETURN(
        const Rows rows,
        pool_.Read(
            Statement("SELECT session_id, holder, purpose, unix_us(create_time) FROM session_holds ORDER BY "
                      "create_time, session_id")));
    std::vector<SessionHold> holds;
    for (int i = 0; i < rows.size(); ++i) holds.push_back(ToHold(rows, i));
    return holds;
  }

 private:
  static SessionHold ToHold(const Rows& rows, int row) {
    return {rows.Text(row, 0), rows.Text(row, 1), rows.Text(row, 2), rows.Time(row, 3)};
  }

  Pool& pool_;
};

}  // namespace

std::unique_ptr<HoldStore> NewPostgresHoldStore(Pool& pool) {
  return std::make_unique<PostgresHoldStore>(pool);
}

}  // namespace narthex::metadata
