// Compares the three things that know of archived sessions: the database, the catalogs and the files
// (invariants 4 and 8).
//
//   verify::Report report;
//   NX_RETURN_IF_ERROR(verify::CheckArchive(database, fs::Posix(), archive_root, {}, report));
#pragma once

#include <string>

#include "absl/status/status.h"

#include "storage/fs/file_system.h"
#include "storage/metadata/database.h"
#include "storage/verify/report.h"

namespace narthex::verify {

struct ArchiveCheckOptions {
  bool digests = true;  // read every file and compare its digests; false: sizes only
};

// Checks every session of the database, also deleted ones (of purged ones: that nothing is left), and that
// nothing else lies in the archive. Changes nothing. Errors are those of the database and the file system;
// what is wrong with the archive goes into `report`:
//   FOLDER_MISSING, FILE_MISSING, FILE_SIZE, FILE_DIGEST   the database has it, the disk does not, or not so
//   REMOVED_FILE_MISSING                                   a file that was taken out is not where it was kept
//   PURGED_FOLDER                                          the files of a purged session are there
//   SESSION_COUNT, SCAN_COUNT, RESOURCE_COUNT              counters of the database differ from its files
//   CATALOG_MISSING, CATALOG_INVALID, CATALOG_DIFFERS      a resource's catalog and the database disagree
//   UNREFERENCED_FILE, UNREFERENCED_FOLDER                 the disk has it, the database does not
// Unfinished: INCOMING_FOLDER, PUBLISHED_FOLDER, JOURNAL, MERGE_FILE, MERGE_CATALOG (of an archive operation
// that goes on at the next start).
absl::Status CheckArchive(metadata::Database& database, fs::FileSystem& files,
                          const std::string& archive_root, const ArchiveCheckOptions& options,
                          Report& report);

// The same for one session.
absl::Status CheckSession(metadata::Database& database, fs::FileSystem& files,
                          const std::string& archive_root, const metadata::Session& session,
                          const ArchiveCheckOptions& options, Report& report);

}  // namespace narthex::verify
