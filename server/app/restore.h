// The way back from a backup (backup.h) into an empty data directory, at the start:
//
//   BeginRestore; the database is loaded: ManagedPostgres::Load or LoadOwnDatabase; EndRestore
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/app/config.h"
#include "storage/metadata/database.h"

namespace narthex::app {

// Copies staging, archive and types of the backup config.restore_from to their places; true. Without one:
// false. Needs an AccessScope. FAILED_PRECONDITION (RESTORE_REFUSED): the backup is not complete, something
// is there already, the database of --postgres is not what the backup needs (all of this before anything is
// touched), or an earlier restore was interrupted. Those of metadata::LookAtDatabase.
absl::StatusOr<bool> BeginRestore(const Config& config);

// Loads the backup's dump into the database of --postgres; nothing to do if the backup has none. Errors as
// metadata::LoadDatabase.
absl::Status LoadOwnDatabase(const Config& config);

// Removes session folders that `database` does not name: they came into the archive after the database was
// taken, and what they hold is in the staging of the backup, or was not acknowledged before it. Then the data
// directory is good for other starts. Needs an AccessScope. FAILED_PRECONDITION (RESTORE_REFUSED), and
// nothing is removed: it names none of them, so it is not the backup's database.
absl::Status EndRestore(const Config& config, metadata::Database& database);

std::string DumpOf(const std::string& backup);
// Where pg_dump and pg_restore write what they have to say about the database of --postgres.
std::string ToolLogOf(const std::string& data_dir);

}  // namespace narthex::app
