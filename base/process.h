// What a program that handles images says to the operating system before it does anything else.
#pragma once

#include <csignal>

#include <sys/resource.h>

namespace narthex {

// No core files, which would hold images and headers; child processes (PostgreSQL, decoders) inherit it. A
// peer that hangs up makes a write fail, and does not end the process.
inline void GuardProcess() {
  const rlimit none = {0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace narthex
