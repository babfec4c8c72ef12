// For whom the database works on this thread. PostgreSQL decides a second time what a transaction may see and
// change (row-level security, migrations/0020_row_security.sql); these scopes tell it who asks. Every use of
// the database needs one: without, it fails with INTERNAL (ACCESS_SCOPE_MISSING), so that nothing is decided
// by forgetting it.
//
//   const metadata::UserScope scope(caller.user());   // the frame of a call (server/rpc/status.h)
//   const metadata::SystemScope scope;                // the server's own work: operations, caches, the start
//
// Scopes nest; the innermost counts. They belong to the thread that made them and end in reverse order.
#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "storage/metadata/connection.h"

namespace narthex::metadata {

class AccessScope {
 public:
  AccessScope(const AccessScope&) = delete;
  AccessScope& operator=(const AccessScope&) = delete;

  // The first statement of every transaction on this thread. INTERNAL (ACCESS_SCOPE_MISSING): no scope.
  static absl::StatusOr<Statement> Enter();

 protected:
  AccessScope(bool system, std::string user);
  ~AccessScope();

 private:
  const AccessScope* const outer_;
  const bool system_;
  const std::string user_;
};

// Sees and changes what PostgreSQL finds that `user` may; nothing if there is no such user, or if it is
// disabled.
class UserScope : public AccessScope {
 public:
  explicit UserScope(std::string user) : AccessScope(false, std::move(user)) {}
};

// Sees and changes everything.
class SystemScope : public AccessScope {
 public:
  SystemScope() : AccessScope(true, "") {}
};

}  // namespace narthex::metadata
