// From the text of a script to its parsed form. Thread-safe.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

#include "base/limit.h"
#include "imaging/anonymize/ast.h"
#include "imaging/anonymize/script.h"

namespace narthex::anonymize {

// DicomEdit 4 runs scripts without version; DicomEdit 6 the others.
enum class Dialect { kDicomEdit4, kDicomEdit6 };

struct ParsedScript {
  Block statements;
  Dialect dialect = Dialect::kDicomEdit4;
  std::string version;  // "6.6"; "4" without
};

// Parses as much of `text` as possible; after a syntax error it goes on in the next line.
ParsedScript Parse(absl::string_view text, Diagnostics* diagnostics, Origin origin = Origin::kArriving);

}  // namespace narthex::anonymize
