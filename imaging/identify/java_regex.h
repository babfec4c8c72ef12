// Java regular expressions, as people have them in their XNAT, as RE2 (linear time, no backtracking).
// docs/routing.md lists what differs. Thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

#include "base/limit.h"
#include "re2/re2.h"

namespace narthex::identify {

// What is wrong with an expression, and at which byte of it.
struct RegexError {
  size_t offset = 0;
  std::string message;
};

struct RegexOptions {
  bool case_insensitive = false;
  Origin origin = Origin::kArriving;
};

// Compiles `java`, rewriting what Java spells differently: (?<name>...), \p{Alpha} and the other POSIX
// classes, \Q...\E, \Z, \h, \R. Returns null and fills `error` (not null) for what RE2 cannot do
// (look-around, back-references, possessive quantifiers, atomic groups, class intersections), for a syntax
// error, and for an expression longer than limits::kRegexMaxBytes or too large when compiled. '.' matches no
// line terminator, as in Java.
std::unique_ptr<const RE2> CompileJavaRegex(absl::string_view java, RegexOptions options, RegexError* error);

// Turns the replacement text of Java's replaceAll ($1, \$, \\) into RE2's (\1). False, and `error` is filled,
// for a group that `groups` (the number of capturing groups) does not reach, for names, and for a lone '\' or
// '$'.
bool TranslateReplacement(absl::string_view java, int groups, std::string* re2, RegexError* error);

}  // namespace narthex::identify
