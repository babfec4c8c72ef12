// The functions of the language: what scripts may call, with how many and what kinds of arguments.
// Thread-safe.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "imaging/anonymize/ast.h"
#include "imaging/anonymize/value.h"

namespace narthex::anonymize {

class Evaluator;

// What an argument must be; the checker looks at it.
enum class ArgumentKind {
  kValue,       // any single value
  kPath,        // a tag path, a string that holds one, or a list of these
  kQuotedPath,  // a string that holds a tag path: XNAT would take an unquoted one as the value found there
  kList,        // a list in braces, or a variable that holds one
  kRegex,       // a pattern
};

struct FunctionSpec {
  absl::string_view name;
  int min_arguments;
  int max_arguments;  // -1: any number
  // Of the arguments in order; the last one repeats.
  std::vector<ArgumentKind> kinds;
  bool dicomedit4 = false;       // exists there too
  bool only_dicomedit4 = false;  // and not in 6
  absl::string_view usage;       // "hashUID[value]"
  absl::StatusOr<Value> (*call)(Evaluator& evaluator, const Expression& call);

  ArgumentKind KindOf(size_t argument) const { return kinds[std::min(argument, kinds.size() - 1)]; }
};

// nullptr: there is none.
const FunctionSpec* FindFunction(absl::string_view name);
// The known name that is most like `name`; "" if none is.
absl::string_view SimilarFunction(absl::string_view name);

}  // namespace narthex::anonymize
