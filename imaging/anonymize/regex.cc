#include "imaging/anonymize/regex.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace narthex::anonymize {

absl::StatusOr<std::shared_ptr<const RE2>> CompileRegex(absl::string_view pattern) {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(4 << 20);  // bounds what a hostile pattern may cost
  auto regex = std::make_shared<const RE2>(re2::StringPiece(pattern.data(), pattern.size()), options);
  if (regex->ok()) return regex;
  return absl::InvalidArgumentError(
      absl::StrCat("the pattern cannot be used: ", regex->error(),
                   " (look-around, back references and possessive quantifiers of Java are not available)"));
}

}  // namespace narthex::anonymize
