#include "server/app/backup.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>
#include <system_error>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "base/error.h"
#include "base/log.h"
#include "base/status.h"
#include "storage/archive/in_place.h"
#include "storage/archive/layout.h"

namespace narthex::app {
namespace {

namespace files = std::filesystem;

constexpr char kRestoring[] = "/restoring";
constexpr int kSessionsPage = 1000;

absl::Status FileError(const std::string& path, const std::error_code& error) {
  const bool full = error == std::errc::no_space_on_device;
  return Error(full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kInternal,
               full ? "DISK_FULL" : "STORAGE_ERROR", absl::StrCat(path, ": ", error.message()));
}

// Makes `to` what `from` is, with hard links where they are possible and wanted. Files that go meanwhile are
// left out, and folders that are being written: their operations begin anew.
absl::Status CopyTree(const files::path& from, const files::path& to, bool link, BackupReport& report) {
  std::error_code error;
  files::create_directories(to, error);
  if (error) return FileError(to, error);
  for (auto it = files::recursive_directory_iterator(from, error); !error && it != files::end(it);
       it.increment(error)) {
    const files::path target = to / it->path().lexically_relative(from);
    if (absl::StartsWith(it->path().filename().string(), archive::kIncomingPrefix)) {
      it.disable_recursion_pending();
    } else if (it->is_directory(error)) {
      files::create_directories(target, error);
    } else if (it->is_regular_file(error)) {
      if (link) files::create_hard_link(it->path(), target, error);
      if (!link || error == std::errc::cross_device_link) {
        error.clear();
        files::copy_file(it->path(), target, error);
      }
      if (!error) ++report.file_count;
      if (!error) report.size_bytes += static_cast<int64_t>(files::file_size(target, error));
    }
    if (error == std::errc::no_such_file_or_directory) error.clear();
    if (error) return FileError(target, error);
  }
  if (error && error != std::errc::no_such_file_or_directory) return FileError(from, error);
  return absl::OkStatus();
}

// Everything of that file system.
absl::Status SyncFileSystem(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, directory);
  const int synced = ::syncfs(fd);
  ::close(fd);
  return synced == 0 ? absl::OkStatus()
                     : Internal("STORAGE_ERROR", absl::StrCat(directory, " cannot be synced"));
}

absl::Status WriteManifest(const BackupSources& sources, const std::string& directory) {
  std::ofstream manifest(directory + "/backup.json");
  manifest << absl::StrCat("{\"version\": \"", sources.version, "\", \"time\": \"",
                           absl::FormatTime(absl::Now(), absl::UTCTimeZone()),
                           "\", \"database\": ", sources.postgres == nullptr ? "false" : "true", "}\n");
  manifest.close();
  if (!manifest) return Internal("STORAGE_ERROR", absl::StrCat(directory, "/backup.json cannot be written"));
  return SyncFileSystem(directory);
}

absl::Status Refused(absl::string_view what) { return FailedPrecondition("RESTORE_REFUSED", what); }

}  // namespace

absl::StatusOr<BackupReport> MakeBackup(const BackupSources& sources, const std::string& directory) {
  std::error_code error;
  files::create_directories(files::path(directory).parent_path(), error);
  if (!files::create_directory(directory, error)) {
    if (error) return FileError(directory, error);
    const bool complete = files::exists(directory + "/backup.json", error);
    return Error(absl::StatusCode::kAlreadyExists, "BACKUP_EXISTS",
                 absl::StrCat(complete ? "there is a backup "
                                       : "a backup was not completed, unless it is being made right now: ",
                              directory, "; give another name or remove it"));
  }
  files::permissions(directory, files::perms::owner_all, error);
  absl::Cleanup undo = [&] { files::remove_all(directory, error); };
  NX_RETURN_IF_ERROR(sources.staging.Snapshot(
      directory + "/segments", [&] { return sources.index.Checkpoint(directory + "/index"); }));
  BackupReport report;
  {
    const archive::NoInPlaceChanges still;
    if (sources.postgres != nullptr) NX_RETURN_IF_ERROR(sources.postgres->Dump(DumpOf(directory)));
    NX_RETURN_IF_ERROR(CopyTree(sources.archive_dir, directory + "/archive", true, report));
  }
  NX_RETURN_IF_ERROR(SyncFileSystem(directory));
  NX_RETURN_IF_ERROR(WriteManifest(sources, directory));
  std::move(undo).Cancel();
  return report;
}

std::string DumpOf(const std::string& from) { return from + "/postgres.dump"; }

absl::StatusOr<bool> BeginRestore(const std::string& from, const std::string& data_dir,
                                  const std::string& archive_dir) {
  std::error_code error;
  const std::string mark = data_dir + kRestoring;
  if (files::exists(mark, error)) {
    return Refused(
        absl::StrCat("a restore into ", data_dir, " was interrupted; remove the folder and restore again"));
  }
  if (from.empty()) return false;
  if (!files::exists(from + "/backup.json", error)) {
    return Refused(absl::StrCat(from, " has no backup.json: it is no backup, or one that was not completed"));
  }
  for (const std::string& place : {data_dir + "/staging", data_dir + "/postgres", archive_dir}) {
    if (files::exists(place, error) && !files::is_empty(place, error)) {
      return Refused(absl::StrCat(place, " is not empty; restore into a new data directory"));
    }
  }
  std::ofstream marked(mark);
  marked.close();
  if (!marked || !files::exists(mark, error)) {
    return Internal("STORAGE_ERROR", absl::StrCat(mark, " cannot be written"));
  }
  NX_RETURN_IF_ERROR(SyncFileSystem(data_dir));
  BackupReport report;
  NX_RETURN_IF_ERROR(CopyTree(from + "/index", data_dir + "/staging/index", false, report));
  NX_RETURN_IF_ERROR(CopyTree(from + "/segments", data_dir + "/staging/segments", false, report));
  NX_RETURN_IF_ERROR(CopyTree(from + "/archive", archive_dir, false, report));
  NX_RETURN_IF_ERROR(SyncFileSystem(data_dir));
  NX_RETURN_IF_ERROR(SyncFileSystem(archive_dir));
  return true;
}

absl::Status DropUnknownFolders(const std::string& archive_dir, metadata::Database& database) {
  std::set<std::string> known;
  metadata::SearchRequest request;
  request.page.size = kSessionsPage;
  do {
    NX_ASSIGN_OR_RETURN(const metadata::SearchResult result,
                        database.session_reader().Search(request, metadata::Visibility::All(true)));
    for (const metadata::Session& session : result.sessions) known.insert(session.folder);
    request.page.token = result.next_page_token;
  } while (!request.page.token.empty());
  std::error_code error;
  for (const auto& project : files::directory_iterator(archive_dir, error)) {
    const files::path sessions = project.path() / archive::kArcFolder;
    if (!files::is_directory(sessions, error)) continue;
    for (const auto& session : files::directory_iterator(sessions, error)) {
      if (known.count(session.path().lexically_relative(archive_dir).string()) > 0) continue;
      files::remove_all(session.path(), error);
      if (error) return FileError(session.path(), error);
      Log(LogLevel::kInfo, "folder dropped that the database of the backup does not name");
    }
  }
  if (error && error != std::errc::no_such_file_or_directory) return FileError(archive_dir, error);
  return absl::OkStatus();
}

absl::Status EndRestore(const std::string& data_dir) {
  NX_RETURN_IF_ERROR(SyncFileSystem(data_dir));
  std::error_code error;
  files::remove(data_dir + kRestoring, error);
  if (error) return FileError(data_dir + kRestoring, error);
  return SyncFileSystem(data_dir);
}

}  // namespace narthex::app
