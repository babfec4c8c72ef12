// Identifiers made of random bits of the operating system. Thread-safe.
#pragma once

#include <string>

namespace narthex {

// A random UUID (RFC 9562 version 4), lower case: "6f1c2f0e-...".
std::string NewUuid();

// `bytes` random bytes as lower-case base32 without padding: usable in names, paths and URLs.
std::string NewRandomId(int bytes = 10);

// `bytes` random bytes as they are. Aborts if the operating system gives none.
std::string RandomBytes(int bytes);

}  // namespace narthex
