// All limits by name, as `--limit NAME=VALUE` and the configuration file set them.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "base/limit.h"

namespace narthex {

struct NamedLimit {
  absl::string_view name;  // "header_max_bytes" of kHeaderMaxBytes
  AnyLimit* limit;
};

// In the order of the headers.
absl::Span<const NamedLimit> AllLimits();

// Sets one. `value`: digits; of a limit whose name has "bytes" in it also with KiB, MiB, GiB or TiB. Only
// before the program has threads. INVALID_ARGUMENT (INVALID_FIELD): no limit has that name (the message has
// the nearest names); the value is no number or beyond the bounds (it has these).
absl::Status SetLimit(absl::string_view name, absl::string_view value);

// Of "NAME=VALUE". Errors as above, and for a text without '='.
absl::Status SetLimit(absl::string_view assignment);

}  // namespace narthex
