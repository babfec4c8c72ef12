// Stands between narthexd and the C library (LD_PRELOAD), counts its calls on files below one folder, and
// lets one of them fail. For io_faults.py, which writes what to do into a file of one page that both map; the
// program itself is the one that is shipped.
//
// Programs that narthexd starts (PostgreSQL, narthex-pixels) load this, too, and pass through it.
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

namespace {

enum class Fault : uint32_t {
  kError,      // input/output error, once
  kNoSpace,    // no space, once; nothing was done
  kShort,      // a write does its first half, once; whoever goes on with the rest finds no space
  kFullDisk,   // from here on there is no space, and of a write only the first half is done
  kReadError,  // as kError, of a read
  kBroken,     // from here on input/output error whenever something is changed
};

// What a call does; kSpace and kChange are counted together, kRead by itself.
enum class Kind { kSpace, kChange, kRead };

// io_faults.py knows this layout.
struct Control {
  std::atomic<uint64_t> calls;
  std::atomic<uint64_t> fail_at;  // 0: count only
  std::atomic<uint32_t> fault;
  std::atomic<uint32_t> lasting;  // 1: a fault that lasts has begun
  std::atomic<uint64_t> failed;   // calls
  char folder[1024];              // of what is counted
  char struck[2048];              // the call that failed first
};

Control* MapControl() {
  const char* path = ::getenv("NARTHEX_IO_FAULTS");
  if (path == nullptr || std::strcmp(::program_invocation_short_name, "narthexd") != 0) return nullptr;
  const int descriptor = ::open(path, O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return nullptr;
  void* page = ::mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  ::close(descriptor);
  return page == MAP_FAILED ? nullptr : static_cast<Control*>(page);
}

// Null where nothing is to be counted: in other programs, and while this library is being loaded.
Control* g_control = nullptr;
__attribute__((constructor)) void Load() { g_control = MapControl(); }

bool Below(const char* path) {
  const size_t length = std::strlen(g_control->folder);
  return length > 0 && std::strncmp(path, g_control->folder, length) == 0 && path[length] == '/';
}

// 0, or the errno that a call must fail with.
int Enter(Kind kind, const char* call, const char* path) {
  if (g_control == nullptr || path == nullptr || !Below(path)) return 0;
  const auto fault = static_cast<Fault>(g_control->fault.load());
  if ((fault == Fault::kReadError) != (kind == Kind::kRead)) return 0;
  const bool now = g_control->calls.fetch_add(1) + 1 == g_control->fail_at.load();
  if (now && (fault == Fault::kFullDisk || fault == Fault::kBroken)) g_control->lasting = 1;
  if (now) {
    std::snprintf(g_control->struck, sizeof(g_control->struck), "%s %s", call,
                  path + std::strlen(g_control->folder));
  }
  const bool lasts = g_control->lasting != 0 && (kind == Kind::kSpace || fault == Fault::kBroken);
  if (!now && !lasts) return 0;
  g_control->failed.fetch_add(1);
  return fault == Fault::kError || fault == Fault::kReadError || fault == Fault::kBroken ? EIO : ENOSPC;
}

int EnterFile(Kind kind, const char* call, int descriptor) {
  if (g_control == nullptr) return 0;
  char link[64];
  std::snprintf(link, sizeof(link), "/proc/self/fd/%d", descriptor);
  char path[PATH_MAX];
  const ssize_t length = ::readlink(link, path, sizeof(path) - 1);
  if (length <= 0) return 0;
  path[length] = '\0';
  const int saved = errno;
  const int error = Enter(kind, call, path);
  errno = saved;
  return error;
}

// The C library's own function of that name.
template <typename Function>
Function* Real(Function*, const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

// NOLINTNEXTLINE(cppcoreguidelines-macro-usage): the name is needed twice, and the result must be kept
#define REAL(name) static auto* const real_##name = Real(&name, #name)

template <typename Result>
Result Fail(int error) {
  errno = error;
  return static_cast<Result>(-1);
}

bool WritesHalf() {
  const auto fault = static_cast<Fault>(g_control->fault.load());
  return fault == Fault::kShort || fault == Fault::kFullDisk;
}

// A write of `size` bytes that `write` does: all of it, its first half, or nothing.
template <typename Write>
ssize_t WriteSome(const char* call, int descriptor, size_t size, Write write) {
  const int error = EnterFile(Kind::kSpace, call, descriptor);
  if (error == 0) return write(size);
  // Whoever writes the rest is told that there is no space; for kShort that call is the next one.
  if (!WritesHalf() || size < 2) return Fail<ssize_t>(error);
  if (static_cast<Fault>(g_control->fault.load()) == Fault::kShort) {
    g_control->fail_at = g_control->calls.load() + 1;
    g_control->fault = static_cast<uint32_t>(Fault::kNoSpace);
  }
  return write(size / 2);
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  REAL(open);
  va_list more;
  va_start(more, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
  va_end(more);
  const bool reads = (flags & O_ACCMODE) == O_RDONLY;
  // Opening what is there for writing changes nothing and needs no space.
  if (reads || (flags & O_CREAT) != 0) {
    if (const int error = Enter(reads ? Kind::kRead : Kind::kSpace, "open", path)) return Fail<int>(error);
  }
  return real_open(path, flags, mode);
}

ssize_t write(int descriptor, const void* data, size_t size) {
  REAL(write);
  return WriteSome("write", descriptor, size,
                   [&](size_t part) { return real_write(descriptor, data, part); });
}

ssize_t pwrite(int descriptor, const void* data, size_t size, off_t offset) {
  REAL(pwrite);
  return WriteSome("pwrite", descriptor, size,
                   [&](size_t part) { return real_pwrite(descriptor, data, part, offset); });
}

ssize_t pwritev(int descriptor, const iovec* pieces, int count, off_t offset) {
  REAL(pwritev);
  REAL(pwrite);
  size_t size = 0;
  for (int i = 0; i < count; ++i) size += pieces[i].iov_len;
  return WriteSome("pwritev", descriptor, size, [&](size_t part) {
    if (part == size) return real_pwritev(descriptor, pieces, count, offset);
    return real_pwrite(descriptor, pieces[0].iov_base, std::min(part, pieces[0].iov_len), offset);
  });
}

ssize_t pread(int descriptor, void* data, size_t size, off_t offset) {
  REAL(pread);
  if (const int error = EnterFile(Kind::kRead, "pread", descriptor)) return Fail<ssize_t>(error);
  return real_pread(descriptor, data, size, offset);
}

ssize_t read(int descriptor, void* data, size_t size) {
  REAL(read);
  if (const int error = EnterFile(Kind::kRead, "read", descriptor)) return Fail<ssize_t>(error);
  return real_read(descriptor, data, size);
}

ssize_t copy_file_range(int source, off64_t* in, int target, off64_t* out, size_t size, unsigned flags) {
  REAL(copy_file_range);
  if (const int error = EnterFile(Kind::kRead, "copy_file_range", source)) return Fail<ssize_t>(error);
  if (const int error = EnterFile(Kind::kSpace, "copy_file_range", target)) return Fail<ssize_t>(error);
  return real_copy_file_range(source, in, target, out, size, flags);
}

int fsync(int descriptor) {
  REAL(fsync);
  if (const int error = EnterFile(Kind::kChange, "fsync", descriptor)) return Fail<int>(error);
  return real_fsync(descriptor);
}

int fdatasync(int descriptor) {
  REAL(fdatasync);
  if (const int error = EnterFile(Kind::kChange, "fdatasync", descriptor)) return Fail<int>(error);
  return real_fdatasync(descriptor);
}

int syncfs(int descriptor) noexcept {
  REAL(syncfs);
  if (const int error = EnterFile(Kind::kChange, "syncfs", descriptor)) return Fail<int>(error);
  return real_syncfs(descriptor);
}

int sync_file_range(int descriptor, off64_t offset, off64_t size, unsigned flags) {
  REAL(sync_file_range);
  // RocksDB asks in this way whether there is such a call; that reads and writes nothing, and cannot fail.
  if (flags == 0) return real_sync_file_range(descriptor, offset, size, flags);
  if (const int error = EnterFile(Kind::kChange, "sync_file_range", descriptor)) return Fail<int>(error);
  return real_sync_file_range(descriptor, offset, size, flags);
}

int ftruncate(int descriptor, off_t size) noexcept {
  REAL(ftruncate);
  if (const int error = EnterFile(Kind::kChange, "ftruncate", descriptor)) return Fail<int>(error);
  return real_ftruncate(descriptor, size);
}

int fallocate(int descriptor, int mode, off_t offset, off_t size) {
  REAL(fallocate);
  const Kind kind = (mode & FALLOC_FL_PUNCH_HOLE) != 0 ? Kind::kChange : Kind::kSpace;
  if (const int error = EnterFile(kind, "fallocate", descriptor)) return Fail<int>(error);
  return real_fallocate(descriptor, mode, offset, size);
}

int rename(const char* from, const char* to) noexcept {
  REAL(rename);
  if (const int error = Enter(Kind::kChange, "rename", to)) return Fail<int>(error);
  return real_rename(from, to);
}

int link(const char* from, const char* to) noexcept {
  REAL(link);
  if (const int error = Enter(Kind::kSpace, "link", to)) return Fail<int>(error);
  return real_link(from, to);
}

int unlink(const char* path) noexcept {
  REAL(unlink);
  if (const int error = Enter(Kind::kChange, "unlink", path)) return Fail<int>(error);
  return real_unlink(path);
}

int remove(const char* path) noexcept {
  REAL(remove);
  if (const int error = Enter(Kind::kChange, "remove", path)) return Fail<int>(error);
  return real_remove(path);
}

int mkdir(const char* path, mode_t mode) noexcept {
  REAL(mkdir);
  if (const int error = Enter(Kind::kSpace, "mkdir", path)) return Fail<int>(error);
  return real_mkdir(path, mode);
}

int rmdir(const char* path) noexcept {
  REAL(rmdir);
  if (const int error = Enter(Kind::kChange, "rmdir", path)) return Fail<int>(error);
  return real_rmdir(path);
}

// A full disk says so to whoever asks.
int statvfs(const char* path, struct statvfs* info) noexcept {
  REAL(statvfs);
  const int result = real_statvfs(path, info);
  if (result == 0 && g_control != nullptr && g_control->lasting != 0 && Below(path) &&
      static_cast<Fault>(g_control->fault.load()) == Fault::kFullDisk) {
    info->f_bfree = 0;
    info->f_bavail = 0;
  }
  return result;
}

}  // extern "C"
