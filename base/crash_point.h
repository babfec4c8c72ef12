// Named places at which a crash test lets the process die as by kill -9. Off, and a single comparison, unless
// the environment says NARTHEX_CRASH_POINT=NAME or NAME:N (the N-th time the place is reached, from 1) when
// the process starts. docs/durability.md lists the names. Thread-safe.
//
//   CrashPoint("archive.published");
#pragma once

namespace narthex {
namespace crash_point_internal {

extern const bool kArmed;
void Reach(const char* name);

}  // namespace crash_point_internal

inline void CrashPoint(const char* name) {
  if (crash_point_internal::kArmed) crash_point_internal::Reach(name);
}

}  // namespace narthex
