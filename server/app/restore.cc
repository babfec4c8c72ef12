#include "server/app/restore.h"

#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/log.h"
#include "base/status.h"
#include "server/app/backup.h"
#include "server/app/backup_manifest.h"
#include "storage/archive/layout.h"
#include "storage/metadata/dump.h"

namespace narthex::app {
namespace {

namespace files = std::filesystem;

constexpr char kRestoring[] = "/restoring";
constexpr int kSessionsPage = 1000;

absl::Status Refused(absl::string_view what) { return FailedPrecondition("RESTORE_REFUSED", what); }

// The folders of sessions below `archive`, relative to it.
absl::StatusOr<std::vector<std::string>> SessionFolders(const std::string& archive) {
  std::vector<std::string> folders;
  std::error_code error;
  for (const auto& project : files::directory_iterator(archive, error)) {
    const files::path sessions = project.path() / archive::kArcFolder;
    if (!files::is_directory(sessions, error)) continue;
    for (const auto& session : files::directory_iterator(sessions, error))
      folders.push_back(session.path().lexically_relative(archive).string());
  }
  if (error && error != std::errc::no_such_file_or_directory) return FileError(archive, error);
  return folders;
}

// Whether a database without sessions could be that of the backup.
bool MayHaveNoSessions(const BackupManifest& manifest) { return manifest.sessions == 0; }

absl::Status CheckDatabase(const Config& config, const BackupManifest& manifest) {
  if (config.postgres == "managed") {
    if (manifest.database) return absl::OkStatus();
    return Refused(
        absl::StrCat(config.restore_from,
                     " has no database, as its server had a PostgreSQL of its own: load the dump that was "
                     "made of that into an empty database, and name this with --postgres"));
  }
  NX_ASSIGN_OR_RETURN(const metadata::DatabaseState state, metadata::LookAtDatabase(config.postgres));
  if (manifest.database) {
    if (state.empty) return absl::OkStatus();
    return Refused(
        "the database of --postgres is not empty, and the backup's own must be loaded into it: name an empty "
        "one, or drop it and create it again");
  }
  if (state.empty) {
    return Refused(
        absl::StrCat(config.restore_from,
                     " has no database, and that of --postgres is empty: load the dump that was made with "
                     "the backup first (pg_restore --no-owner --no-privileges)"));
  }
  NX_ASSIGN_OR_RETURN(const auto folders, SessionFolders(config.restore_from + "/" + kArchivePart));
  if (state.sessions > 0 || folders.empty() || MayHaveNoSessions(manifest)) return absl::OkStatus();
  return Refused(
      absl::StrCat("the archive of ", config.restore_from, " has ", folders.size(),
                   " sessions, and the database of --postgres none: load the dump that was made with the "
                   "backup into an empty database first"));
}

absl::Status DropUnknownFolders(const Config& config, metadata::Database& database) {
  std::set<std::string> known;
  metadata::SearchRequest request;
  request.page.size = kSessionsPage;
  do {
    NX_ASSIGN_OR_RETURN(const metadata::SearchResult result,
                        database.session_reader().Search(request, metadata::Visibility::All(true)));
    for (const metadata::Session& session : result.sessions) known.insert(session.folder);
    request.page.token = result.next_page_token;
  } while (!request.page.token.empty());
  NX_ASSIGN_OR_RETURN(const BackupManifest manifest, ReadManifest(config.restore_from));
  NX_ASSIGN_OR_RETURN(const auto folders, SessionFolders(config.archive_dir));
  std::vector<std::string> unknown;
  for (const std::string& folder : folders) {
    if (known.count(folder) == 0) unknown.push_back(folder);
  }
  if (!unknown.empty() && unknown.size() == folders.size() && !MayHaveNoSessions(manifest)) {
    return Refused(absl::StrCat("the database names none of the ", folders.size(),
                                " sessions that the archive of ", config.restore_from,
                                " has: it is not the one of this backup; remove ", config.data_dir,
                                " and restore again, with the right one"));
  }
  std::error_code error;
  for (const std::string& folder : unknown) {
    const std::string path = config.archive_dir + "/" + folder;
    files::remove_all(path, error);
    if (error) return FileError(path, error);
    Log(LogLevel::kInfo, "folder dropped that the database of the backup does not name");
  }
  return absl::OkStatus();
}

}  // namespace

std::string DumpOf(const std::string& backup) { return backup + "/" + kDumpPart; }

std::string ToolLogOf(const std::string& data_dir) { return data_dir + "/postgres-tools.log"; }

absl::StatusOr<bool> BeginRestore(const Config& config) {
  std::error_code error;
  const std::string mark = config.data_dir + kRestoring;
  if (files::exists(mark, error)) {
    return Refused(absl::StrCat(
        "a restore into ", config.data_dir, " was interrupted; remove the folder and restore again",
        config.postgres == "managed"
            ? ""
            : ", into a database that was dropped and created again if one was being loaded"));
  }
  const std::string& from = config.restore_from;
  if (from.empty()) return false;
  NX_ASSIGN_OR_RETURN(const BackupManifest manifest, ReadManifest(from));
  for (const std::string& place :
       {config.data_dir + "/staging", config.data_dir + "/postgres", config.archive_dir}) {
    if (files::exists(place, error) && !files::is_empty(place, error)) {
      return Refused(absl::StrCat(place, " is not empty; restore into a new data directory"));
    }
  }
  NX_RETURN_IF_ERROR(CheckComplete(manifest, from));
  NX_RETURN_IF_ERROR(CheckDatabase(config, manifest));
  std::ofstream marked(mark);
  marked.close();
  if (!marked || !files::exists(mark, error)) {
    return Internal("STORAGE_ERROR", absl::StrCat(mark, " cannot be written"));
  }
  NX_RETURN_IF_ERROR(SyncFileSystem(config.data_dir));
  NX_RETURN_IF_ERROR(CopyTree(from + "/" + kIndexPart, config.data_dir + "/staging/index", false));
  NX_RETURN_IF_ERROR(CopyTree(from + "/" + kSegmentsPart, config.data_dir + "/staging/segments", false));
  NX_RETURN_IF_ERROR(CopyTree(from + "/" + kArchivePart, config.archive_dir, false));
  NX_RETURN_IF_ERROR(CopyTypes(from + "/" + kTypesPart, config.types_dir));
  NX_RETURN_IF_ERROR(SyncFileSystem(config.data_dir));
  NX_RETURN_IF_ERROR(SyncFileSystem(config.archive_dir));
  return true;
}

absl::Status LoadOwnDatabase(const Config& config) {
  NX_ASSIGN_OR_RETURN(const BackupManifest manifest, ReadManifest(config.restore_from));
  if (!manifest.database) return absl::OkStatus();  // loaded by hand before
  return metadata::LoadDatabase(config.postgres, DumpOf(config.restore_from),
                                {"", ToolLogOf(config.data_dir)});
}

absl::Status EndRestore(const Config& config, metadata::Database& database) {
  NX_RETURN_IF_ERROR(DropUnknownFolders(config, database));
  NX_RETURN_IF_ERROR(SyncFileSystem(config.archive_dir));
  NX_RETURN_IF_ERROR(SyncFileSystem(config.data_dir));
  std::error_code error;
  files::remove(config.data_dir + kRestoring, error);
  if (error) return FileError(config.data_dir + kRestoring, error);
  return SyncFileSystem(config.data_dir);
}

}  // namespace narthex::app
