#include "imaging/pixels/sandbox.h"

#include <seccomp.h>

#include <cerrno>

#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/limits_pixels.h"

// The sanitizers take terabytes of address space and ask the kernel for more than decoding does.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define NARTHEX_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define NARTHEX_SANITIZED 1
#endif
#endif

namespace narthex::pixels {
namespace {

bool Limit(int resource, rlim_t value) {
  const rlimit limit{value, value};
  return setrlimit(static_cast<__rlimit_resource>(resource), &limit) == 0;
}

bool LimitResources() {
  bool ok = Limit(RLIMIT_CPU, limits::kPixelDecoderCpuSeconds) && Limit(RLIMIT_FSIZE, 0) &&
            Limit(RLIMIT_CORE, 0) && Limit(RLIMIT_NOFILE, 3);
#ifndef NARTHEX_SANITIZED
  ok = ok && Limit(RLIMIT_AS, limits::kPixelDecoderMemoryBytes);
#endif
  return ok;
}

#ifndef NARTHEX_SANITIZED
bool AllowOnlyComputing() {
  constexpr int kAllowed[] = {
      SCMP_SYS(read),          SCMP_SYS(write),        SCMP_SYS(recvfrom),       SCMP_SYS(sendto),
      SCMP_SYS(mmap),          SCMP_SYS(munmap),       SCMP_SYS(mremap),         SCMP_SYS(mprotect),
      SCMP_SYS(madvise),       SCMP_SYS(brk),          SCMP_SYS(futex),          SCMP_SYS(sched_yield),
      SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(rt_sigreturn),   SCMP_SYS(rt_sigprocmask),
      SCMP_SYS(gettid),        SCMP_SYS(getpid),       SCMP_SYS(tgkill),         SCMP_SYS(exit),
      SCMP_SYS(exit_group),    SCMP_SYS(getrandom),    SCMP_SYS(restart_syscall)};
  // What codecs try beside that (reading /proc, say) fails as if it were forbidden, and they go on.
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
  if (filter == nullptr) return false;
  bool ok = true;
  for (const int call : kAllowed) ok = ok && seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0) == 0;
  ok = ok && seccomp_load(filter) == 0;
  seccomp_release(filter);
  return ok;
}
#endif

}  // namespace

bool EnterSandbox() {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return false;
  if (!LimitResources()) return false;
#ifdef NARTHEX_SANITIZED
  return true;
#else
  return AllowOnlyComputing();
#endif
}

}  // namespace narthex::pixels
