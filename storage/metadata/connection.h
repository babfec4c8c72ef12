// One connection to PostgreSQL: the only place (with pool.h) that talks libpq. Statements are prepared once
// per connection and sent in pipeline mode: a batch costs one round trip however many statements it has.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include <libpq-fe.h>

namespace narthex::metadata {

// A statement with its bound values. Arrays travel in PostgreSQL's binary form, the rest as text.
class Statement {
 public:
  explicit Statement(std::string sql) : sql_(std::move(sql)) {}

  Statement& Text(absl::string_view value);
  Statement& Null();
  Statement& TextOrNull(absl::string_view value) { return value.empty() ? Null() : Text(value); }
  Statement& Int(int64_t value) { return Text(std::to_string(value)); }
  Statement& Bool(bool value) { return Text(value ? "t" : "f"); }
  Statement& Bytes(absl::string_view value);
  Statement& Time(absl::Time value);  // bind as timestamptz
  Statement& TextArray(
      absl::Span<const absl::string_view> values);  // an absent one is NULL if data() is null
  Statement& TextArray(const std::vector<std::string>& values);
  Statement& IntArray(absl::Span<const int64_t> values);
  Statement& BytesArray(absl::Span<const absl::string_view> values);

  // Not worth preparing: planned for the values that it is sent with.
  Statement& Once() {
    once_ = true;
    return *this;
  }

  const std::string& sql() const { return sql_; }

 private:
  friend class Connection;
  struct Value {
    std::optional<std::string> bytes;
    bool binary = false;
    Oid type = 0;
  };
  std::string sql_;
  std::vector<Value> values_;
  bool once_ = false;
};

// The rows of one statement. Columns by position. Single-threaded.
class Rows {
 public:
  explicit Rows(PGresult* result) : result_(result, PQclear) {}

  int size() const { return PQntuples(result_.get()); }
  bool IsNull(int row, int column) const { return PQgetisnull(result_.get(), row, column) != 0; }
  absl::string_view View(int row, int column) const;
  std::string Text(int row, int column) const { return std::string(View(row, column)); }
  int64_t Int(int row, int column) const;
  bool Bool(int row, int column) const { return View(row, column) == "t"; }
  std::string Bytes(int row, int column) const;               // a bytea
  absl::Time Time(int row, int column) const;                 // unix_us(...); NULL: InfiniteFuture
  std::vector<std::string> Texts(int row, int column) const;  // a text[]
  int64_t affected() const;                                   // rows that an INSERT, UPDATE or DELETE changed

 private:
  std::unique_ptr<PGresult, void (*)(PGresult*)> result_;
};

// True if `status` says that the connection broke, so that what was sent may or may not have happened.
bool IsConnectionLost(const absl::Status& status);

// Errors of PostgreSQL become: UNAVAILABLE (DATABASE_UNAVAILABLE), ALREADY_EXISTS (UNIQUE_VIOLATION),
// FAILED_PRECONDITION (REFERENCE_VIOLATION), INVALID_ARGUMENT (VALUE_REFUSED), ABORTED
// (TRANSACTION_CONFLICT), RESOURCE_EXHAUSTED (DATABASE_FULL), DEADLINE_EXCEEDED (STATEMENT_TIMEOUT), else
// INTERNAL (DATABASE_ERROR); the names of constraint and SQLSTATE are in the metadata, values are not.
// Functions of the schema raise reasons of their own (SQLSTATE NX4xx). Single-threaded.
class Connection {
 public:
  // Tries until it works or `timeout` is over, with backoff. `role`: what it works as (row_role.h); "":
  // itself.
  static absl::StatusOr<std::unique_ptr<Connection>> Connect(const std::string& conninfo,
                                                             absl::Duration timeout,
                                                             absl::Duration statement_timeout,
                                                             const std::string& role = "");

  // Runs all statements in one round trip and returns the rows of each, for whom the thread's AccessScope
  // says (INTERNAL, ACCESS_SCOPE_MISSING: for nobody). Stops at the first error and returns it; without BEGIN
  // as the first statement they form one implicit transaction. After an error the connection is rolled back
  // and can be used again, or is broken.
  absl::StatusOr<std::vector<Rows>> Run(absl::Span<const Statement> batch);
  absl::StatusOr<Rows> Run(const Statement& statement);

  // Text without parameters, possibly of several statements: for migrations. Enters no scope.
  absl::Status RunScript(const std::string& sql);

  // False: broken, or left inside a transaction. Not worth keeping then.
  bool reusable() const;
  int64_t round_trips() const { return round_trips_; }

 private:
  explicit Connection(PGconn* connection) : connection_(connection, PQfinish) {}
  absl::StatusOr<std::vector<Rows>> RunAll(absl::Span<const Statement* const> batch);
  absl::Status Send(const Statement& statement, std::vector<std::string>& prepared);
  absl::Status Failure(const PGresult* result);
  absl::Status Lost();
  absl::StatusOr<Rows> Receive();
  void Rollback();

  std::unique_ptr<PGconn, void (*)(PGconn*)> connection_;
  absl::flat_hash_map<std::string, std::string> prepared_;  // SQL -> name
  int64_t next_name_ = 0;
  int64_t round_trips_ = 0;
};

}  // namespace narthex::metadata
