#include "server/app/backup.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "base/error.h"
#include "base/status.h"
#include "server/app/backup_manifest.h"
#include "server/app/restore.h"
#include "storage/archive/in_place.h"
#include "storage/archive/layout.h"
#include "storage/metadata/access.h"
#include "storage/metadata/dump.h"

namespace narthex::app {
namespace {

namespace files = std::filesystem;

absl::StatusOr<int64_t> CountSessions(metadata::Database& database) {
  const metadata::SystemScope scope;
  metadata::SearchRequest all;
  all.page.size = 1;
  all.count_total = true;
  NX_ASSIGN_OR_RETURN(const metadata::SearchResult found,
                      database.session_reader().Search(all, metadata::Visibility::All(true)));
  return found.total_count.value_or(0);
}

absl::Status Dump(const BackupSources& sources, const std::string& path) {
  if (sources.postgres != nullptr) return sources.postgres->Dump(path);
  return metadata::DumpDatabase(sources.config.postgres, path, {"", ToolLogOf(sources.config.data_dir)});
}

}  // namespace

absl::Status FileError(const std::string& path, const std::error_code& error) {
  const bool full = error == std::errc::no_space_on_device;
  return Error(full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kInternal,
               full ? "DISK_FULL" : "STORAGE_ERROR", absl::StrCat(path, ": ", error.message()));
}

absl::Status CopyTree(const files::path& from, const files::path& to, bool link) {
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
    }
    if (error == std::errc::no_such_file_or_directory) error.clear();
    if (error) return FileError(target, error);
  }
  if (error && error != std::errc::no_such_file_or_directory) return FileError(from, error);
  return absl::OkStatus();
}

absl::Status CopyTypes(const std::string& from, const std::string& to) {
  std::error_code error;
  const auto types = [&](const std::string& folder) {
    std::vector<files::path> found;
    for (const auto& entry : files::directory_iterator(folder, error)) {
      if (entry.path().extension() == ".toml") found.push_back(entry.path());
    }
    return found;
  };
  if (!types(to).empty()) return absl::OkStatus();
  for (const files::path& type : types(from)) {
    files::create_directories(to, error);
    files::copy_file(type, to / type.filename(), error);
    if (error) return FileError(to, error);
  }
  return absl::OkStatus();
}

absl::Status SyncFileSystem(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return absl::ErrnoToStatus(errno, directory);
  const int synced = ::syncfs(fd);
  ::close(fd);
  return synced == 0 ? absl::OkStatus()
                     : Internal("STORAGE_ERROR", absl::StrCat(directory, " cannot be synced"));
}

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
  NX_RETURN_IF_ERROR(sources.staging.Snapshot(directory + "/" + kSegmentsPart, [&] {
    return sources.index.Checkpoint(directory + "/" + kIndexPart);
  }));
  NX_RETURN_IF_ERROR(CopyTypes(sources.config.types_dir, directory + "/" + kTypesPart));
  BackupManifest manifest;
  manifest.version = sources.version;
  manifest.database = true;
  {
    const archive::NoInPlaceChanges still;
    NX_ASSIGN_OR_RETURN(manifest.sessions, CountSessions(sources.database));
    NX_RETURN_IF_ERROR(Dump(sources, DumpOf(directory)));
    NX_RETURN_IF_ERROR(CopyTree(sources.config.archive_dir, directory + "/" + kArchivePart, true));
  }
  BackupReport report;
  for (const char* const part : {kIndexPart, kSegmentsPart, kTypesPart, kDumpPart, kArchivePart}) {
    NX_ASSIGN_OR_RETURN(const BackupPart measured, MeasurePart(directory, part));
    if (absl::string_view(part) != kTypesPart && absl::string_view(part) != kDumpPart) {
      report.file_count += measured.files;
      report.size_bytes += measured.bytes;
    }
    manifest.parts[part] = measured;
  }
  NX_RETURN_IF_ERROR(SyncFileSystem(directory));
  // A write that fails is cut off again: what has not been durable in between does not count.
  NX_ASSIGN_OR_RETURN(const BackupPart later, MeasurePart(directory, kSegmentsPart));
  BackupPart& segments = manifest.parts[kSegmentsPart];
  segments.bytes = 0;
  for (auto& [file, size] : segments.sizes) {
    const auto now = later.sizes.find(file);
    size = now == later.sizes.end() ? 0 : std::min(size, now->second);
    segments.bytes += size;
  }
  NX_RETURN_IF_ERROR(WriteManifest(manifest, directory));
  NX_RETURN_IF_ERROR(SyncFileSystem(directory));
  std::move(undo).Cancel();
  return report;
}

}  // namespace narthex::app
