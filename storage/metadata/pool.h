// A bounded set of connections that are opened when needed and replaced when they break. Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

#include "base/limits_storage.h"
#include "storage/metadata/connection.h"

namespace narthex::metadata {

class Pool {
 public:
  struct Options {
    std::string conninfo;
    int max_connections = limits::kDatabaseConnectionsMax;
    absl::Duration connect_timeout = absl::Seconds(limits::kDatabaseConnectSeconds.get());
    absl::Duration acquire_timeout = absl::Seconds(limits::kDatabaseAcquireSeconds.get());
    absl::Duration statement_timeout = absl::Seconds(limits::kDatabaseStatementSeconds.get());
    std::string role = "";  // what the connections work as (row_role.h); "": themselves
  };

  // A borrowed connection; goes back when destroyed. The pool must outlive it.
  class Lease {
   public:
    Lease(Pool* pool, std::unique_ptr<Connection> connection)
        : pool_(pool), connection_(std::move(connection)) {}
    Lease(Lease&&) = default;
    ~Lease() {
      if (connection_) pool_->Return(std::move(connection_));
    }
    Connection* operator->() { return connection_.get(); }
    Connection& operator*() { return *connection_; }

   private:
    Pool* pool_;
    std::unique_ptr<Connection> connection_;
  };

  explicit Pool(Options options) : options_(std::move(options)) {}

  // UNAVAILABLE (DATABASE_UNAVAILABLE): no connection within the timeouts.
  absl::StatusOr<Lease> Acquire();

  // Reads: runs one batch; if the connection broke, again on a new one, a few times with backoff.
  absl::StatusOr<std::vector<Rows>> Read(absl::Span<const Statement> batch);
  absl::StatusOr<Rows> Read(const Statement& statement);

  // Calls `attempt` with a connection; if the connection broke, again on a new one. For what may be repeated.
  absl::Status Repeat(const std::function<absl::Status(Connection&)>& attempt);

  // Round trips of all connections since the start, for tests and metrics; without those that are borrowed
  // now.
  int64_t round_trips() const;

 private:
  void Return(std::unique_ptr<Connection> connection);
  bool MayTake() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !idle_.empty() || open_ < options_.max_connections;
  }

  const Options options_;
  mutable absl::Mutex mutex_;
  std::vector<std::unique_ptr<Connection>> idle_ ABSL_GUARDED_BY(mutex_);
  int open_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t closed_round_trips_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace narthex::metadata
