// Finds what is wrong with a parsed script, and makes it ready to run. Thread-safe.
#pragma once

#include "imaging/anonymize/parser.h"
#include "imaging/anonymize/script.h"

namespace narthex::anonymize {

// Resolves functions, compiles patterns and reads quoted paths in `script`; appends what it finds to
// `diagnostics`. A script without errors can be run.
void CheckParsed(ParsedScript& script, const CompileOptions& options, Diagnostics* diagnostics);

}  // namespace narthex::anonymize
