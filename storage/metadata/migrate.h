// Forward-only schema changes: storage/metadata/migrations/NNNN_name.sql, embedded into the program.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "storage/metadata/connection.h"

namespace narthex::metadata {

struct Migration {
  absl::string_view name;  // "0001_initial"
  absl::string_view sql;
};

// Those of this program, in order. Made at build time from the folder migrations.
const std::vector<Migration>& EmbeddedMigrations();

// What whoever changes the schema or its grants holds meanwhile.
inline constexpr char kSchemaLock[] = "SELECT pg_advisory_lock(7310579023)";
inline constexpr char kSchemaUnlock[] = "SELECT pg_advisory_unlock(7310579023)";

// Applies what is missing, each migration in one transaction with its row in schema_migrations. Several
// processes may do it at once. Marks the functions that searches need to be LEAKPROOF where the role may, and
// they are not. FAILED_PRECONDITION (DATABASE_TOO_NEW, DATABASE_MIGRATION_CHANGED).
absl::Status Migrate(Connection& connection, const std::vector<Migration>& migrations);

}  // namespace narthex::metadata
