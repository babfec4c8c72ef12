// The PostgreSQL role that the pool works as.
#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "storage/metadata/connection.h"

namespace narthex::metadata {

// Row-level security does not hold for superusers and roles with BYPASSRLS. If `connection` is of one, this
// makes the role narthex_rows with no more rights than the stores need, and returns its name: what
// connections must SET ROLE to. "": the connection's own role is bound already. FAILED_PRECONDITION
// (DATABASE_ROLE_UNBOUND): the role bypasses the rules and may not make one that does not. Call it behind the
// migrations.
absl::StatusOr<std::string> EnsureRowRole(Connection& connection);

}  // namespace narthex::metadata
