// The operating system's files behind one interface. Everything below storage/ reads and writes through it,
// so that tests can run on a twin in memory that loses power (memory.h) and with calls that fail (faults.h).
//
//   fs::FileSystem& files = fs::Posix();
//   NX_ASSIGN_OR_RETURN(auto file, files.Open("/data/a", {.mode = fs::OpenMode::kCreateNew}));
//   NX_RETURN_IF_ERROR(file->WriteAt(0, "bytes"));
//   NX_RETURN_IF_ERROR(file->Sync());                    // the bytes are durable
//   NX_RETURN_IF_ERROR(files.SyncDirectory("/data"));    // the name is durable
//
// Errors of all functions, as code (reason):
//   NOT_FOUND (FILE_NOT_FOUND)              a part of the path does not exist
//   ALREADY_EXISTS (FILE_EXISTS)            the name is taken
//   RESOURCE_EXHAUSTED (DISK_FULL)          no space, no inode or over the disk quota
//   RESOURCE_EXHAUSTED (TOO_MANY_FILES)     the process or the system is out of descriptors
//   FAILED_PRECONDITION (DIRECTORY_NOT_EMPTY, WRONG_FILE_TYPE, OTHER_FILE_SYSTEM, READ_ONLY_FILE_SYSTEM)
//   PERMISSION_DENIED (FILE_ACCESS_DENIED), INVALID_ARGUMENT (BAD_FILE_ARGUMENT)
//   DATA_LOSS (IO_ERROR)                    the device failed; what was not durable may be gone
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace narthex::fs {

// An open file. Closed by its destructor; close it after Sync if it matters whether the bytes arrived.
// Thread-safe: offsets are explicit. Two writers of overlapping bytes are the callers' business.
class File {
 public:
  virtual ~File() = default;

  // Reads up to `length` bytes at `offset` into `data` and returns how many; fewer only at the end of the
  // file. With OpenOptions::direct, `offset`, `data` and `length` must be multiples of 4096.
  virtual absl::StatusOr<size_t> ReadAt(uint64_t offset, char* data, size_t length) = 0;

  // Writes all pieces, one behind the other, from `offset`; the file grows as needed. After an error any part
  // of them may have been written. With OpenOptions::direct, `offset` and the address and length of each
  // piece must be multiples of 4096.
  virtual absl::Status WriteAt(uint64_t offset, absl::Span<const absl::string_view> pieces) = 0;
  absl::Status WriteAt(uint64_t offset, absl::string_view bytes) {
    return WriteAt(offset, absl::MakeConstSpan(&bytes, 1));
  }

  // Reserves space for [offset, offset + length) without changing the size (fallocate KEEP_SIZE). OK without
  // effect where the file system cannot.
  virtual absl::Status Allocate(uint64_t offset, uint64_t length) = 0;

  // Cuts or extends (with zeros) the file; also releases what was allocated behind its end.
  virtual absl::Status Truncate(uint64_t size) = 0;

  // Makes content and size durable (fdatasync). After an error never call it again on this file's unsynced
  // bytes and believe an OK: the kernel may have dropped them.
  virtual absl::Status Sync() = 0;

  virtual absl::StatusOr<uint64_t> SizeBytes() = 0;

  // The descriptor, or -1 where there is none (in memory).
  virtual int descriptor() const { return -1; }
};

// Makes everything that was written to a file system durable in one go: bytes and names of all its files
// (syncfs). Far cheaper than one Sync for each of many new files. Make it before the writes that it is to
// cover.
class SyncBarrier {
 public:
  virtual ~SyncBarrier() = default;

  // DATA_LOSS (IO_ERROR): something failed to reach the device since the barrier was made; no byte that was
  // not durable before may be relied on. Call it once.
  virtual absl::Status Sync() = 0;
};

enum class OpenMode : uint8_t {
  kRead,       // must exist
  kReadWrite,  // must exist
  kCreate,     // read and write; created if missing, content kept
  kCreateNew,  // read and write; ALREADY_EXISTS if there
  kCreateOrTruncate,
};

struct OpenOptions {
  OpenMode mode = OpenMode::kRead;
  bool direct = false;  // O_DIRECT, bypassing the page cache; ignored where the file system refuses it
  uint32_t permissions = 0640;  // of a created file, before umask
};

struct FileInfo {
  enum class Type : uint8_t { kFile, kDirectory, kSymbolicLink, kOther };
  Type type = Type::kOther;
  uint64_t size_bytes = 0;
  uint64_t allocated_bytes = 0;  // what it occupies
  int64_t modified_unix_ns = 0;  // 0 in memory
  uint64_t inode = 0;            // equal for hard links of one file
  uint64_t link_count = 0;

  bool is_file() const { return type == Type::kFile; }
  bool is_directory() const { return type == Type::kDirectory; }
};

struct DirectoryEntry {
  std::string name;  // without the directory
  FileInfo::Type type = FileInfo::Type::kOther;
};

// Paths are absolute or relative to the working directory, parts separated by '/'. Symbolic links are
// followed by Open, not by Stat, Remove and RemoveTree. Thread-safe.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual absl::StatusOr<std::unique_ptr<File>> Open(absl::string_view path, const OpenOptions& options) = 0;

  // Creates `path` and all its parents (mkdir -p). OK if it exists as a directory. Not durable.
  virtual absl::Status MakeDirectories(absl::string_view path) = 0;

  // Makes names that were created, renamed or removed in this directory durable (fsync of the directory).
  virtual absl::Status SyncDirectory(absl::string_view path) = 0;

  // See SyncBarrier. `path` is a directory on the file system that is to be synced.
  virtual absl::StatusOr<std::unique_ptr<SyncBarrier>> NewSyncBarrier(absl::string_view path) = 0;

  // Renames a file or directory; replaces a file (atomically) or an empty directory at `to`.
  virtual absl::Status Rename(absl::string_view from, absl::string_view to) = 0;

  // A second name for a file (hard link). ALREADY_EXISTS if `to` exists.
  virtual absl::Status Link(absl::string_view from, absl::string_view to) = 0;

  // Removes a file or an empty directory.
  virtual absl::Status Remove(absl::string_view path) = 0;

  // Removes `path` and everything below. OK if there is nothing.
  virtual absl::Status RemoveTree(absl::string_view path) = 0;

  virtual absl::StatusOr<FileInfo> Stat(absl::string_view path) = 0;

  // What is in a directory, sorted by name, without "." and "..".
  virtual absl::StatusOr<std::vector<DirectoryEntry>> List(absl::string_view path) = 0;

  // Bytes that this process may still write to the file system that holds `path`, which must exist.
  virtual absl::StatusOr<uint64_t> FreeBytes(absl::string_view path) = 0;

  // Copies `length` bytes between files of this file system, sharing blocks where that is possible
  // (copy_file_range). OUT_OF_RANGE (FILE_TOO_SHORT): the source ends before.
  virtual absl::Status CopyRange(File& source, uint64_t source_offset, File& target, uint64_t target_offset,
                                 uint64_t length) = 0;
};

// The operating system. Lives as long as the process.
FileSystem& Posix();

// An OS error number as a status: "<what> <path>: <strerror>", with the code and reason of the table above.
absl::Status ErrnoToStatus(int error_number, absl::string_view what, absl::string_view path);

// --- On top of the interface ------------------------------------------------------------------------------

// "a", "b" -> "a/b", without doubling a slash.
std::string JoinPath(absl::string_view directory, absl::string_view name);
// "a/b" -> "a"; "b" -> "."; "/b" -> "/".
std::string ParentPath(absl::string_view path);
// "a/b" -> "b".
std::string BaseName(absl::string_view path);

// Whether there is something at `path`. Errors other than NOT_FOUND are passed on.
absl::StatusOr<bool> Exists(FileSystem& files, absl::string_view path);

// MakeDirectories, and the names are durable when it returns. Costs a sync also if `path` exists.
absl::Status MakeDirectoriesDurably(FileSystem& files, absl::string_view path);

// The whole file. RESOURCE_EXHAUSTED (FILE_TOO_LARGE): it is larger than `max_bytes`.
absl::StatusOr<std::string> ReadFile(FileSystem& files, absl::string_view path, uint64_t max_bytes);

// Replaces or creates `path` so that after a crash there is the old or the new content, nothing between:
// temporary file "<path>.tmp", sync, rename, sync of the directory. Durable when it returns.
absl::Status WriteFileDurably(FileSystem& files, absl::string_view path, absl::string_view bytes);

// Copies a file with CopyRange into a new one (ALREADY_EXISTS otherwise) and syncs its bytes, not its name.
absl::Status CopyFile(FileSystem& files, absl::string_view from, absl::string_view to);

// Calls `visit` for every file below `directory` with its path relative to it, folders in name order, until
// it returns an error, which is passed on. Symbolic links are reported, not followed. At most 64 levels.
absl::Status VisitTree(
    FileSystem& files, absl::string_view directory,
    const std::function<absl::Status(const std::string& relative_path, FileInfo::Type)>& visit);

}  // namespace narthex::fs
