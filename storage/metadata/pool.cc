#include "storage/metadata/pool.h"

#include <utility>

#include "absl/time/clock.h"

#include "base/error.h"
#include "base/status.h"

namespace narthex::metadata {
namespace {

constexpr int kAttempts = 5;

}  // namespace

absl::StatusOr<Pool::Lease> Pool::Acquire() {
  {
    absl::MutexLock lock(&mutex_);
    if (!mutex_.AwaitWithTimeout(absl::Condition(this, &Pool::MayTake), options_.acquire_timeout)) {
      return Error(absl::StatusCode::kUnavailable, "DATABASE_BUSY",
                   "all connections to PostgreSQL are in use; try again, or raise the number of connections");
    }
    if (!idle_.empty()) {
      std::unique_ptr<Connection> connection = std::move(idle_.back());
      idle_.pop_back();
      return Lease(this, std::move(connection));
    }
    ++open_;
  }
  absl::StatusOr<std::unique_ptr<Connection>> connection = Connection::Connect(
      options_.conninfo, options_.connect_timeout, options_.statement_timeout, options_.role);
  if (!connection.ok()) {
    absl::MutexLock lock(&mutex_);
    --open_;
    return connection.status();
  }
  return Lease(this, *std::move(connection));
}

void Pool::Return(std::unique_ptr<Connection> connection) {
  absl::MutexLock lock(&mutex_);
  if (connection->reusable()) {
    idle_.push_back(std::move(connection));
    return;
  }
  --open_;
  closed_round_trips_ += connection->round_trips();
  // One broken connection usually means that the server went away: the others are worth as little.
  for (const auto& other : idle_) closed_round_trips_ += other->round_trips();
  open_ -= static_cast<int>(idle_.size());
  idle_.clear();
}

absl::Status Pool::Repeat(const std::function<absl::Status(Connection&)>& attempt) {
  absl::Status status;
  absl::Duration pause = absl::Milliseconds(20);
  for (int i = 0; i < kAttempts; ++i) {
    if (i > 0) absl::SleepFor(pause *= 2);
    NX_ASSIGN_OR_RETURN(Lease lease, Acquire());
    status = attempt(*lease);
    if (!IsConnectionLost(status)) return status;
  }
  return status;
}

absl::StatusOr<std::vector<Rows>> Pool::Read(absl::Span<const Statement> batch) {
  std::vector<Rows> rows;
  NX_RETURN_IF_ERROR(Repeat([&](Connection& connection) -> absl::Status {
    NX_ASSIGN_OR_RETURN(rows, connection.Run(batch));
    return absl::OkStatus();
  }));
  return rows;
}

absl::StatusOr<Rows> Pool::Read(const Statement& statement) {
  NX_ASSIGN_OR_RETURN(std::vector<Rows> all, Read(absl::MakeConstSpan(&statement, 1)));
  return std::move(all.front());
}

int64_t Pool::round_trips() const {
  absl::MutexLock lock(&mutex_);
  int64_t sum = closed_round_trips_;
  for (const auto& connection : idle_) sum += connection->round_trips();
  return sum;
}

}  // namespace narthex::metadata
