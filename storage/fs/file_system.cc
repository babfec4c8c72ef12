#include "storage/fs/file_system.h"

#include <cerrno>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/status.h"

namespace narthex::fs {
namespace {

constexpr int kTreeMaxDepth = 64;  // fixed: trees of our own making

struct ErrnoMeaning {
  absl::StatusCode code;
  const char* reason;
};

ErrnoMeaning MeaningOf(int error_number) {
  switch (error_number) {
    case ENOENT:
      return {absl::StatusCode::kNotFound, "FILE_NOT_FOUND"};
    case EEXIST:
      return {absl::StatusCode::kAlreadyExists, "FILE_EXISTS"};
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return {absl::StatusCode::kResourceExhausted, "DISK_FULL"};
    case EMFILE:
    case ENFILE:
      return {absl::StatusCode::kResourceExhausted, "TOO_MANY_FILES"};
    case ENOMEM:
      return {absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY"};
    case ENOTEMPTY:
      return {absl::StatusCode::kFailedPrecondition, "DIRECTORY_NOT_EMPTY"};
    case EISDIR:
    case ENOTDIR:
    case ELOOP:
      return {absl::StatusCode::kFailedPrecondition, "WRONG_FILE_TYPE"};
    case EXDEV:
      return {absl::StatusCode::kFailedPrecondition, "OTHER_FILE_SYSTEM"};
    case EROFS:
      return {absl::StatusCode::kFailedPrecondition, "READ_ONLY_FILE_SYSTEM"};
    case EACCES:
    case EPERM:
      return {absl::StatusCode::kPermissionDenied, "FILE_ACCESS_DENIED"};
    case EINVAL:
    case EBADF:
    case ENAMETOOLONG:
      return {absl::StatusCode::kInvalidArgument, "BAD_FILE_ARGUMENT"};
    default:
      return {absl::StatusCode::kDataLoss, "IO_ERROR"};
  }
}

absl::Status VisitLevel(
    FileSystem& files, const std::string& directory, const std::string& prefix, int levels_left,
    const std::function<absl::Status(const std::string& relative_path, FileInfo::Type)>& visit) {
  if (levels_left == 0) return ErrnoToStatus(ELOOP, "visit", directory);
  NX_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> entries, files.List(directory));
  for (const DirectoryEntry& entry : entries) {
    std::string relative = prefix.empty() ? entry.name : absl::StrCat(prefix, "/", entry.name);
    if (entry.type == FileInfo::Type::kDirectory) {
      NX_RETURN_IF_ERROR(
          VisitLevel(files, JoinPath(directory, entry.name), relative, levels_left - 1, visit));
    } else {
      NX_RETURN_IF_ERROR(visit(relative, entry.type));
    }
  }
  return absl::OkStatus();
}

absl::Status WriteAndSync(FileSystem& files, const std::string& path, absl::string_view bytes) {
  NX_ASSIGN_OR_RETURN(const std::unique_ptr<File> file,
                      files.Open(path, {.mode = OpenMode::kCreateOrTruncate}));
  NX_RETURN_IF_ERROR(file->WriteAt(0, bytes));
  return file->Sync();
}

}  // namespace

absl::Status ErrnoToStatus(int error_number, absl::string_view what, absl::string_view path) {
  const ErrnoMeaning meaning = MeaningOf(error_number);
  const std::string text = std::generic_category().message(error_number);  // thread-safe, unlike strerror
  return Error(meaning.code, meaning.reason, absl::StrCat("cannot ", what, " ", path, ": ", text),
               {{"path", std::string(path)}});
}

std::string JoinPath(absl::string_view directory, absl::string_view name) {
  if (directory.empty()) return std::string(name);
  if (directory.back() == '/') return absl::StrCat(directory, name);
  return absl::StrCat(directory, "/", name);
}

std::string ParentPath(absl::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  const size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos) return ".";
  return slash == 0 ? "/" : std::string(path.substr(0, slash));
}

std::string BaseName(absl::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  const size_t slash = path.rfind('/');
  return std::string(slash == absl::string_view::npos || path.size() == 1 ? path : path.substr(slash + 1));
}

absl::StatusOr<bool> Exists(FileSystem& files, absl::string_view path) {
  const absl::StatusOr<FileInfo> info = files.Stat(path);
  if (absl::IsNotFound(info.status())) return false;
  NX_RETURN_IF_ERROR(info.status());
  return true;
}

absl::Status MakeDirectoriesDurably(FileSystem& files, absl::string_view path) {
  NX_ASSIGN_OR_RETURN(const bool exists, Exists(files, path));
  const std::string parent = ParentPath(path);
  if (!exists && parent != path && parent != ".") NX_RETURN_IF_ERROR(MakeDirectoriesDurably(files, parent));
  NX_RETURN_IF_ERROR(files.MakeDirectories(path));
  // Also if it was there: who made it may have failed, or died, before this.
  return files.SyncDirectory(parent);
}

absl::StatusOr<std::string> ReadFile(FileSystem& files, absl::string_view path, uint64_t max_bytes) {
  NX_ASSIGN_OR_RETURN(const std::unique_ptr<File> file, files.Open(path, {}));
  NX_ASSIGN_OR_RETURN(const uint64_t size, file->SizeBytes());
  if (size > max_bytes) {
    return ResourceExhausted("FILE_TOO_LARGE",
                             absl::StrCat(path, " has ", size, " bytes, at most ", max_bytes, " are read"));
  }
  std::string bytes(size, '\0');
  NX_ASSIGN_OR_RETURN(const size_t got, file->ReadAt(0, bytes.data(), bytes.size()));
  bytes.resize(got);
  return bytes;
}

absl::Status WriteFileDurably(FileSystem& files, absl::string_view path, absl::string_view bytes) {
  const std::string temporary = absl::StrCat(path, ".tmp");
  absl::Status status = WriteAndSync(files, temporary, bytes);
  if (status.ok()) status = files.Rename(temporary, path);
  if (!status.ok()) {
    files.Remove(temporary).IgnoreError();  // the first error is the one to report
    return status;
  }
  return files.SyncDirectory(ParentPath(path));
}

absl::Status CopyFile(FileSystem& files, absl::string_view from, absl::string_view to) {
  NX_ASSIGN_OR_RETURN(const std::unique_ptr<File> source, files.Open(from, {}));
  NX_ASSIGN_OR_RETURN(const uint64_t size, source->SizeBytes());
  NX_ASSIGN_OR_RETURN(const std::unique_ptr<File> target, files.Open(to, {.mode = OpenMode::kCreateNew}));
  NX_RETURN_IF_ERROR(files.CopyRange(*source, 0, *target, 0, size));
  return target->Sync();
}

absl::Status VisitTree(
    FileSystem& files, absl::string_view directory,
    const std::function<absl::Status(const std::string& relative_path, FileInfo::Type)>& visit) {
  return VisitLevel(files, std::string(directory), "", kTreeMaxDepth, visit);
}

}  // namespace narthex::fs
