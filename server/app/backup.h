// A copy of everything at one moment, made while the server runs, and its way back (docs/operations.md,
// "Backup").
//
//   DIRECTORY/backup.json      written last: without it the backup is not complete
//   DIRECTORY/index            the staging index
//   DIRECTORY/segments         the staged bytes, by hard links
//   DIRECTORY/postgres.dump    the database (pg_dump's custom format); absent if PostgreSQL is not managed
//   DIRECTORY/archive          the archive's files, by hard links or as copies
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "storage/metadata/database.h"
#include "storage/metadata/managed_postgres.h"
#include "storage/staging/index.h"
#include "storage/staging/staging.h"

namespace narthex::app {

struct BackupSources {
  staging::StagingStore& staging;
  staging::Index& index;
  metadata::ManagedPostgres* postgres;  // null: not managed
  std::string archive_dir;
  std::string version;
};

struct BackupReport {
  int64_t file_count = 0;
  int64_t size_bytes = 0;
};

// Makes `directory`, on the file system of the staging. What moves from staging to the archive meanwhile is
// in the one or in both, never in none: index and segments are taken first, then the database, then the
// archive, while archived sessions get no other files (merges, resources and purges wait; new sessions do
// not). Everything that was acknowledged before the call is in it. ALREADY_EXISTS (BACKUP_EXISTS). After
// other errors the folder is removed.
absl::StatusOr<BackupReport> MakeBackup(const BackupSources& sources, const std::string& directory);

// Removes session folders that `database` does not name: they came into the archive after the database was
// taken, and what they hold is in the staging of the backup, or was not acknowledged before it. Needs an
// AccessScope.
absl::Status DropUnknownFolders(const std::string& archive_dir, metadata::Database& database);

// Copies staging and archive of the backup `from` to their places; true. With `from` "": false. Then the
// database is loaded by ManagedPostgres::Load from DumpOf(from), before it is first used, DropUnknownFolders
// makes the archive what the database says, and EndRestore makes the data directory good for other starts.
// FAILED_PRECONDITION (RESTORE_REFUSED): `from` is no complete backup, something is there already, or an
// earlier restore was interrupted.
absl::StatusOr<bool> BeginRestore(const std::string& from, const std::string& data_dir,
                                  const std::string& archive_dir);
absl::Status EndRestore(const std::string& data_dir);
std::string DumpOf(const std::string& from);

}  // namespace narthex::app
