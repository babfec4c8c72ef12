// Replacements for UIDs. Thread-safe.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace narthex::anonymize {

// XNAT's hashUID: "2.25." and the decimal of a version 5 UUID made of SHA-1(uid), without a name space.
std::string HashUid(absl::string_view uid);

// "2.25." and the decimal of a random version 4 UUID.
std::string RandomUid();

// The same form, following from `key` and `seed`.
std::string SeededUid(absl::string_view key, absl::string_view seed);

// HMAC-SHA-256: 32 bytes.
std::string Hmac(absl::string_view key, absl::string_view message);

// The decimal of the 128 bits at the beginning of `bytes` (at least 16), up to 39 digits.
std::string Decimal128(absl::string_view bytes);

// `prefix` and digits that follow from `key` and `uid`, at most 64 characters. The same every time.
std::string MapUidWithPrefix(absl::string_view key, absl::string_view prefix, absl::string_view uid);

}  // namespace narthex::anonymize
