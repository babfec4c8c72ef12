// pg_dump and pg_restore of a database of which no more is known than how to connect. A password in the
// connection string reaches them in their environment, not in their arguments. Thread-safe; all calls block.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace narthex::metadata {

struct DumpTools {
  std::string binaries;  // their folder; "": /usr/lib/postgresql/*/bin, else PATH, as fits the server
  std::string log_file;  // gets what they say; may quote values
};

// Writes the database to the new file `path` (pg_dump's custom format), as it is at one moment: after the
// call began. The role may be an ordinary one that owns the tables: row-level security lets it see all.
// FAILED_PRECONDITION (POSTGRES_NOT_FOUND): no pg_dump that is good for the server. UNAVAILABLE
// (POSTGRES_START): it failed, the text names the log; (DATABASE_UNAVAILABLE).
absl::Status DumpDatabase(const std::string& conninfo, const std::string& path, const DumpTools& tools);

// Fills the database, which must be empty, from a dump; what is in it belongs to the role of the connection.
// Errors as DumpDatabase; the database may then be filled in part.
absl::Status LoadDatabase(const std::string& conninfo, const std::string& path, const DumpTools& tools);

struct DatabaseState {
  bool empty = true;         // its schema has no tables
  int64_t sessions = 0;      // archived ones
  bool superuser = false;    // the role of the connection
  int postgres_version = 0;  // 17
};

// Needs an AccessScope. Changes nothing. UNAVAILABLE (DATABASE_UNAVAILABLE).
absl::StatusOr<DatabaseState> LookAtDatabase(const std::string& conninfo);

}  // namespace narthex::metadata
