// Where plain text stays on this machine. Thread-safe (pure functions).
#pragma once

#include <string>

namespace narthex {

// Whether `host`, without port, is this machine and nothing else: an address of 127.0.0.0/8 written out, ::1
// or "localhost". Other names are not looked up and count as reachable from elsewhere.
bool IsLocalHost(const std::string& host);

// Whether `address` (HOST:PORT, [IPV6]:PORT or unix:PATH) can only be reached from this machine.
bool IsLocalAddress(const std::string& address);

}  // namespace narthex
