// A copy of everything at one moment, made while the server runs (docs/operations.md, "Backup"); restore.h is
// the way back.
//
//   DIRECTORY/backup.json      written last, says what must be there (backup_manifest.h)
//   DIRECTORY/index            the staging index
//   DIRECTORY/segments         the staged bytes, by hard links
//   DIRECTORY/postgres.dump    the database (pg_dump's custom format)
//   DIRECTORY/archive          the archive's files, by hard links or as copies
//   DIRECTORY/types            the site's session types
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/app/config.h"
#include "storage/metadata/database.h"
#include "storage/metadata/managed_postgres.h"
#include "storage/staging/index.h"
#include "storage/staging/staging.h"

namespace narthex::app {

struct BackupSources {
  staging::StagingStore& staging;
  staging::Index& index;
  metadata::Database& database;
  metadata::ManagedPostgres* postgres;  // null: config.postgres is a connection string
  const Config& config;
  std::string version;
};

struct BackupReport {  // of archive and staging
  int64_t file_count = 0;
  int64_t size_bytes = 0;
};

// Makes `directory`, on the file system of the staging. What moves from staging to the archive meanwhile is
// in the one or in both, never in none: index and segments are taken first, then the database, then the
// archive, while archived sessions get no other files (merges, resources and purges wait; new sessions do
// not). Everything that was acknowledged before the call is in it. ALREADY_EXISTS (BACKUP_EXISTS), those of
// metadata::DumpDatabase. After other errors than the first the folder is removed.
absl::StatusOr<BackupReport> MakeBackup(const BackupSources& sources, const std::string& directory);

// Makes `to` what `from` is, with hard links where they are possible and wanted. Files that go meanwhile are
// left out, and folders that are being written: their operations begin anew. DISK_FULL, STORAGE_ERROR.
absl::Status CopyTree(const std::filesystem::path& from, const std::filesystem::path& to, bool link);
// The *.toml in `from`, if `to` has none yet. Errors as CopyTree.
absl::Status CopyTypes(const std::string& from, const std::string& to);
// Everything of that file system.
absl::Status SyncFileSystem(const std::string& directory);
absl::Status FileError(const std::string& path, const std::error_code& error);

}  // namespace narthex::app
