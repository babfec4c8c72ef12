// Named places at which a crash test lets the process die as by kill -9, or a test of races lets it wait.
// Off, and a single comparison, unless the environment says so when the process starts:
//   NARTHEX_CRASH_POINT=NAME or NAME:N   dies there, the N-th time the place is reached (from 1)
//   NARTHEX_PAUSE_POINTS=DIRECTORY       waits there as long as there is a file DIRECTORY/NAME, and makes
//                                        DIRECTORY/NAME.reached when it begins to
// docs/durability.md lists the names. Thread-safe.
//
//   CrashPoint("archive.published");
#pragma once

namespace narthex {
namespace crash_point_internal {

extern const bool kArmed;
void Reach(const char* name, bool may_die);

}  // namespace crash_point_internal

inline void CrashPoint(const char* name) {
  if (crash_point_internal::kArmed) crash_point_internal::Reach(name, true);
}

// A place where a test may let the process wait, but where dying is no different from dying beside it.
inline void PausePoint(const char* name) {
  if (crash_point_internal::kArmed) crash_point_internal::Reach(name, false);
}

}  // namespace narthex
