// Regular expressions of scripts, which are Java's, run by RE2. Thread-safe.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "re2/re2.h"

namespace narthex::anonymize {

// INVALID_ARGUMENT: no expression, or one that RE2 does not have (look-around, back references, possessive
// quantifiers); the message says which, for a person.
absl::StatusOr<std::shared_ptr<const RE2>> CompileRegex(absl::string_view pattern);

}  // namespace narthex::anonymize
