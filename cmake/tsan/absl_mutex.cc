// Tells the thread sanitizer about absl::Mutex and absl::CondVar. Debian's abseil is compiled without it, so
// that every hand-over of a lock would be reported as a race. Linked into the programs of the preset tsan
// only; the linker's
// --wrap leads calls here (cmake/Toolchain.cmake lists the symbols).
#include "absl/synchronization/mutex.h"
#include <sanitizer/tsan_interface.h>

// WRAPPED(result, symbol without prefix, parameters): declares the original and opens the definition of the
// wrapper.
#define WRAPPED(result, symbol, ...)              \
  extern "C" result __real_##symbol(__VA_ARGS__); \
  extern "C" result __wrap_##symbol(__VA_ARGS__)

using absl::Condition;
using absl::CondVar;
using absl::Duration;
using absl::Mutex;
using absl::Time;

namespace {

constexpr unsigned kShared = __tsan_mutex_read_lock;

// What happens in between is the library's own business: neither races nor hand-overs are seen there.
template <typename Call>
auto Locking(Mutex* mutex, unsigned flags, Call call) {
  __tsan_mutex_pre_lock(mutex, flags);
  if constexpr (std::is_void_v<decltype(call())>) {
    call();
    __tsan_mutex_post_lock(mutex, flags, 0);
  } else {
    auto result = call();
    const bool failed = (flags & __tsan_mutex_try_lock) != 0 && !result;
    __tsan_mutex_post_lock(mutex, failed ? flags | __tsan_mutex_try_lock_failed : flags, 0);
    return result;
  }
}

// Waiting gives the lock away and takes it again.
template <typename Call>
auto Waiting(Mutex* mutex, Call call) {
  __tsan_mutex_pre_unlock(mutex, 0);
  __tsan_mutex_post_unlock(mutex, 0);
  return Locking(mutex, 0, call);
}

}  // namespace

WRAPPED(void, _ZN4absl7debian35Mutex4LockEv, Mutex* mutex) {
  Locking(mutex, 0, [&] { __real__ZN4absl7debian35Mutex4LockEv(mutex); });
}
WRAPPED(bool, _ZN4absl7debian35Mutex7TryLockEv, Mutex* mutex) {
  return Locking(mutex, __tsan_mutex_try_lock,
                 [&] { return __real__ZN4absl7debian35Mutex7TryLockEv(mutex); });
}
WRAPPED(void, _ZN4absl7debian35Mutex6UnlockEv, Mutex* mutex) {
  __tsan_mutex_pre_unlock(mutex, 0);
  __real__ZN4absl7debian35Mutex6UnlockEv(mutex);
  __tsan_mutex_post_unlock(mutex, 0);
}
WRAPPED(void, _ZN4absl7debian35Mutex10ReaderLockEv, Mutex* mutex) {
  Locking(mutex, kShared, [&] { __real__ZN4absl7debian35Mutex10ReaderLockEv(mutex); });
}
WRAPPED(void, _ZN4absl7debian35Mutex12ReaderUnlockEv, Mutex* mutex) {
  __tsan_mutex_pre_unlock(mutex, kShared);
  __real__ZN4absl7debian35Mutex12ReaderUnlockEv(mutex);
  __tsan_mutex_post_unlock(mutex, kShared);
}
WRAPPED(void, _ZN4absl7debian35Mutex8LockWhenERKNS0_9ConditionE, Mutex* mutex, const Condition& condition) {
  Locking(mutex, 0, [&] { __real__ZN4absl7debian35Mutex8LockWhenERKNS0_9ConditionE(mutex, condition); });
}
WRAPPED(void, _ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE, Mutex* mutex, const Condition& condition) {
  Waiting(mutex, [&] { __real__ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE(mutex, condition); });
}
WRAPPED(bool, _ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE, Mutex* mutex,
        const Condition& condition, Duration timeout) {
  return Waiting(mutex, [&] {
    return __real__ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE(mutex, condition,
                                                                                           timeout);
  });
}
WRAPPED(bool, _ZN4absl7debian35Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE, Mutex* mutex,
        const Condition& condition, Time deadline) {
  return Waiting(mutex, [&] {
    return __real__ZN4absl7debian35Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE(mutex, condition,
                                                                                        deadline);
  });
}
WRAPPED(void, _ZN4absl7debian37CondVar4WaitEPNS0_5MutexE, CondVar* variable, Mutex* mutex) {
  Waiting(mutex, [&] { __real__ZN4absl7debian37CondVar4WaitEPNS0_5MutexE(variable, mutex); });
}
WRAPPED(bool, _ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE, CondVar* variable,
        Mutex* mutex, Duration timeout) {
  return Waiting(mutex, [&] {
    return __real__ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE(variable, mutex,
                                                                                       timeout);
  });
}
WRAPPED(bool, _ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE, CondVar* variable,
        Mutex* mutex, Time deadline) {
  return Waiting(mutex, [&] {
    return __real__ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE(variable, mutex,
                                                                                    deadline);
  });
}
