// The operating system behind fs::FileSystem.
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

#include "base/error.h"
#include "base/status.h"
#include "storage/fs/file_system.h"

namespace narthex::fs {
namespace {

constexpr int kTreeMaxDepth = 64;  // fixed: trees of our own making
constexpr size_t kDirectBlock = 4096;

// Repeats a system call that a signal interrupted.
template <typename Call>
auto Retry(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

absl::Status LastError(absl::string_view what, absl::string_view path) {
  return ErrnoToStatus(errno, what, path);
}

class PosixFile : public File {
 public:
  PosixFile(int descriptor, absl::string_view path) : descriptor_(descriptor), path_(path) {}
  ~PosixFile() override { ::close(descriptor_); }
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* data, size_t length) override {
    size_t done = 0;
    while (done < length) {
      const ssize_t n = Retry([&] {
        return ::pread(descriptor_, data + done, length - done, static_cast<off_t>(offset + done));
      });
      if (n < 0 && errno == EINVAL && LeaveDirect()) continue;
      if (n < 0) return LastError("read", path_);
      if (n == 0) break;
      done += static_cast<size_t>(n);
      // Direct reading goes on at whole blocks only; a short count is the file's end.
      if (done < length && done % kDirectBlock != 0 && (::fcntl(descriptor_, F_GETFL) & O_DIRECT) != 0) break;
    }
    return done;
  }

  absl::Status WriteAt(uint64_t offset, absl::Span<const absl::string_view> pieces) override {
    std::vector<iovec> left;
    left.reserve(pieces.size());
    for (absl::string_view piece : pieces) {
      if (!piece.empty()) left.push_back({const_cast<char*>(piece.data()), piece.size()});
    }
    size_t first = 0;
    while (first < left.size()) {
      const int count = static_cast<int>(std::min<size_t>(left.size() - first, IOV_MAX));
      const ssize_t n =
          Retry([&] { return ::pwritev(descriptor_, &left[first], count, static_cast<off_t>(offset)); });
      if (n < 0) {
        if (errno == EINVAL && LeaveDirect()) continue;
        return LastError("write", path_);
      }
      if (n == 0) return ErrnoToStatus(ENOSPC, "write", path_);
      offset += static_cast<uint64_t>(n);
      SkipWritten(left, first, static_cast<size_t>(n));
    }
    return absl::OkStatus();
  }

  absl::Status Allocate(uint64_t offset, uint64_t length) override {
    const int result = Retry([&] {
      return ::fallocate(descriptor_, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                         static_cast<off_t>(length));
    });
    if (result == 0 || errno == EOPNOTSUPP || errno == ENOSYS) return absl::OkStatus();
    return LastError("allocate space for", path_);
  }

  absl::Status Truncate(uint64_t size) override {
    if (Retry([&] { return ::ftruncate(descriptor_, static_cast<off_t>(size)); }) < 0) {
      return LastError("truncate", path_);
    }
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    if (Retry([&] { return ::fdatasync(descriptor_); }) < 0) return LastError("sync", path_);
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> SizeBytes() override {
    struct stat info;
    if (::fstat(descriptor_, &info) < 0) return LastError("stat", path_);
    return static_cast<uint64_t>(info.st_size);
  }

  int descriptor() const override { return descriptor_; }

 private:
  // Some file systems let O_DIRECT be opened and refuse to read or write. True if it was on and is off now.
  bool LeaveDirect() {
    const int flags = ::fcntl(descriptor_, F_GETFL);
    return flags >= 0 && (flags & O_DIRECT) != 0 && ::fcntl(descriptor_, F_SETFL, flags & ~O_DIRECT) == 0;
  }

  static void SkipWritten(std::vector<iovec>& pieces, size_t& first, size_t written) {
    while (first < pieces.size() && written >= pieces[first].iov_len) written -= pieces[first++].iov_len;
    if (written == 0) return;
    pieces[first].iov_base = static_cast<char*>(pieces[first].iov_base) + written;
    pieces[first].iov_len -= written;
  }

  const int descriptor_;
  const std::string path_;
};

int OpenFlags(OpenMode mode) {
  switch (mode) {
    case OpenMode::kRead:
      return O_RDONLY;
    case OpenMode::kReadWrite:
      return O_RDWR;
    case OpenMode::kCreate:
      return O_RDWR | O_CREAT;
    case OpenMode::kCreateNew:
      return O_RDWR | O_CREAT | O_EXCL;
    case OpenMode::kCreateOrTruncate:
      return O_RDWR | O_CREAT | O_TRUNC;
  }
  return O_RDONLY;
}

FileInfo::Type TypeOf(mode_t mode) {
  if (S_ISREG(mode)) return FileInfo::Type::kFile;
  if (S_ISDIR(mode)) return FileInfo::Type::kDirectory;
  if (S_ISLNK(mode)) return FileInfo::Type::kSymbolicLink;
  return FileInfo::Type::kOther;
}

FileInfo::Type TypeOfEntry(const dirent& entry, int directory) {
  if (entry.d_type == DT_REG) return FileInfo::Type::kFile;
  if (entry.d_type == DT_DIR) return FileInfo::Type::kDirectory;
  if (entry.d_type == DT_LNK) return FileInfo::Type::kSymbolicLink;
  struct stat info;
  if (entry.d_type != DT_UNKNOWN || ::fstatat(directory, entry.d_name, &info, AT_SYMLINK_NOFOLLOW) < 0) {
    return FileInfo::Type::kOther;
  }
  return TypeOf(info.st_mode);
}

// The kernel reports to a descriptor the write errors of its file system that came after it was opened.
class PosixSyncBarrier : public SyncBarrier {
 public:
  explicit PosixSyncBarrier(int descriptor) : descriptor_(descriptor) {}
  ~PosixSyncBarrier() override { ::close(descriptor_); }

  absl::Status Sync() override {
    if (Retry([&] { return ::syncfs(descriptor_); }) < 0) return LastError("sync", "file system");
    return absl::OkStatus();
  }

 private:
  const int descriptor_;
};

class PosixFileSystem : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<File>> Open(absl::string_view path, const OpenOptions& options) override {
    const std::string name(path);
    const int flags = OpenFlags(options.mode) | O_CLOEXEC;
    int descriptor = -1;
    if (options.direct) {
      descriptor = Retry([&] { return ::open(name.c_str(), flags | O_DIRECT, options.permissions); });
      if (descriptor < 0 && errno != EINVAL) return LastError("open", path);
      // A refused O_DIRECT may have left the new file behind.
      if (descriptor < 0 && options.mode == OpenMode::kCreateNew) ::unlink(name.c_str());
    }
    if (descriptor < 0) descriptor = Retry([&] { return ::open(name.c_str(), flags, options.permissions); });
    if (descriptor < 0) return LastError("open", path);
    auto file = std::make_unique<PosixFile>(descriptor, path);
    struct stat info;
    if (::fstat(descriptor, &info) < 0) return LastError("stat", path);
    if (!S_ISREG(info.st_mode)) return ErrnoToStatus(EISDIR, "open", path);
    return std::unique_ptr<File>(std::move(file));
  }

  absl::Status MakeDirectories(absl::string_view path) override {
    const std::string name(path);
    if (::mkdir(name.c_str(), 0750) == 0) return absl::OkStatus();
    if (errno == EEXIST) {
      struct stat info;
      if (::stat(name.c_str(), &info) < 0) return LastError("make directory", path);
      return S_ISDIR(info.st_mode) ? absl::OkStatus() : ErrnoToStatus(ENOTDIR, "make directory", path);
    }
    if (errno != ENOENT) return LastError("make directory", path);
    const std::string parent = ParentPath(path);
    if (parent == path || parent == ".") return ErrnoToStatus(ENOENT, "make directory", path);
    NX_RETURN_IF_ERROR(MakeDirectories(parent));
    if (::mkdir(name.c_str(), 0750) < 0 && errno != EEXIST) return LastError("make directory", path);
    return absl::OkStatus();
  }

  absl::Status SyncDirectory(absl::string_view path) override {
    const int descriptor =
        Retry([&] { return ::open(std::string(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (descriptor < 0) return LastError("open directory", path);
    absl::Status status;
    if (Retry([&] { return ::fsync(descriptor); }) < 0) status = LastError("sync directory", path);
    ::close(descriptor);
    return status;
  }

  absl::StatusOr<std::unique_ptr<SyncBarrier>> NewSyncBarrier(absl::string_view path) override {
    const int descriptor =
        Retry([&] { return ::open(std::string(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (descriptor < 0) return LastError("open directory", path);
    return std::make_unique<PosixSyncBarrier>(descriptor);
  }

  absl::Status Rename(absl::string_view from, absl::string_view to) override {
    if (::rename(std::string(from).c_str(), std::string(to).c_str()) < 0) return LastError("rename", from);
    return absl::OkStatus();
  }

  absl::Status Link(absl::string_view from, absl::string_view to) override {
    if (::link(std::string(from).c_str(), std::string(to).c_str()) < 0) return LastError("link", to);
    return absl::OkStatus();
  }

  absl::Status Remove(absl::string_view path) override {
    if (::remove(std::string(path).c_str()) < 0) return LastError("remove", path);
    return absl::OkStatus();
  }

  absl::Status RemoveTree(absl::string_view path) override { return RemoveLevel(path, kTreeMaxDepth); }

  absl::StatusOr<FileInfo> Stat(absl::string_view path) override {
    struct stat info;
    if (::lstat(std::string(path).c_str(), &info) < 0) return LastError("stat", path);
    FileInfo result;
    result.type = TypeOf(info.st_mode);
    result.size_bytes = static_cast<uint64_t>(info.st_size);
    result.allocated_bytes = static_cast<uint64_t>(info.st_blocks) * 512;
    result.modified_unix_ns = info.st_mtim.tv_sec * 1'000'000'000ll + info.st_mtim.tv_nsec;
    result.inode = info.st_ino;
    result.link_count = info.st_nlink;
    return result;
  }

  absl::StatusOr<std::vector<DirectoryEntry>> List(absl::string_view path) override {
    DIR* directory = ::opendir(std::string(path).c_str());
    if (directory == nullptr) return LastError("list", path);
    std::vector<DirectoryEntry> entries;
    errno = 0;
    while (const dirent* entry = ::readdir(directory)) {
      const absl::string_view name(entry->d_name);
      if (name != "." && name != "..")
        entries.push_back({std::string(name), TypeOfEntry(*entry, ::dirfd(directory))});
      errno = 0;
    }
    const int error = errno;
    ::closedir(directory);
    if (error != 0) return ErrnoToStatus(error, "list", path);
    std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return entries;
  }

  absl::StatusOr<uint64_t> FreeBytes(absl::string_view path) override {
    struct statvfs info;
    if (::statvfs(std::string(path).c_str(), &info) < 0) return LastError("get the free space of", path);
    return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  }

  absl::Status CopyRange(File& source, uint64_t source_offset, File& target, uint64_t target_offset,
                         uint64_t length) override {
    if (source.descriptor() < 0 || target.descriptor() < 0) {
      return ErrnoToStatus(EBADF, "copy", "a file of another file system");
    }
    while (length > 0) {
      auto in = static_cast<off_t>(source_offset);
      auto out = static_cast<off_t>(target_offset);
      const ssize_t n = Retry([&] {
        return ::copy_file_range(source.descriptor(), &in, target.descriptor(), &out,
                                 std::min<uint64_t>(length, 1u << 30), 0);
      });
      // What the kernel cannot copy by itself (across file systems, special ones, overlapping) goes through
      // us.
      if (n <= 0) return CopyThroughMemory(source, source_offset, target, target_offset, length);
      source_offset += static_cast<uint64_t>(n);
      target_offset += static_cast<uint64_t>(n);
      length -= static_cast<uint64_t>(n);
    }
    return absl::OkStatus();
  }

 private:
  static absl::Status CopyThroughMemory(File& source, uint64_t source_offset, File& target,
                                        uint64_t target_offset, uint64_t length) {
    // Aligned, because either file may be open with O_DIRECT.
    constexpr size_t kPiece = 1 << 20;
    std::unique_ptr<char, decltype(&::free)> buffer(static_cast<char*>(::aligned_alloc(4096, kPiece)),
                                                    &::free);
    if (buffer == nullptr) return ErrnoToStatus(ENOMEM, "copy", "a file");
    while (length > 0) {
      const size_t wanted = std::min<uint64_t>(length, kPiece);
      NX_ASSIGN_OR_RETURN(const size_t got, source.ReadAt(source_offset, buffer.get(), wanted));
      if (got == 0) {
        return Error(absl::StatusCode::kOutOfRange, "FILE_TOO_SHORT",
                     "copy: the source ends before the range does");
      }
      NX_RETURN_IF_ERROR(target.WriteAt(target_offset, absl::string_view(buffer.get(), got)));
      source_offset += got;
      target_offset += got;
      length -= got;
    }
    return absl::OkStatus();
  }

  absl::Status RemoveLevel(absl::string_view path, int levels_left) {
    const absl::StatusOr<FileInfo> info = Stat(path);
    if (absl::IsNotFound(info.status())) return absl::OkStatus();
    NX_RETURN_IF_ERROR(info.status());
    if (info->is_directory()) {
      if (levels_left == 0) return ErrnoToStatus(ELOOP, "remove", path);
      NX_ASSIGN_OR_RETURN(const std::vector<DirectoryEntry> entries, List(path));
      for (const DirectoryEntry& entry : entries) {
        NX_RETURN_IF_ERROR(RemoveLevel(JoinPath(path, entry.name), levels_left - 1));
      }
    }
    absl::Status status = Remove(path);
    return absl::IsNotFound(status) ? absl::OkStatus() : status;
  }
};

}  // namespace

FileSystem& Posix() {
  static PosixFileSystem* const system = new PosixFileSystem;
  return *system;
}

}  // namespace narthex::fs
