// The small language of modality maps: boolean expressions over attributes. It cannot loop, call, store or
// fail.
//
//   expression := and ( "||" and )*            and := not ( "&&" not )*
//   not        := "!" not | comparison
//   comparison := operand [ ("==" | "!=" | "===" | "!==" | "~" | "!~") operand ]
//               | /regex/flags "." "test" "(" operand ")"           XNAT's JavaScript spelling of ~
//               | "(" expression ")" | "true" | "false"
//   operand    := 'text' | "text" | #Tag# | number
//
// `#Tag#` is the attribute's value (first value as DICOM's text with all values joined by '\', "" if absent);
// it also works inside a string literal ('#Modality#'), where it is replaced by the value, whatever quotes
// the value holds: values are never parsed. == and != compare text exactly; ~ searches for the regular
// expression on its right (a literal without #Tag#) without regard to case. An operand alone is true if it is
// not empty.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "base/limit.h"
#include "imaging/dicom/tag.h"
#include "imaging/identify/java_regex.h"

namespace narthex::dicom {
class HeaderFacts;
}

namespace narthex::identify {

// Immutable; thread-safe; cheap to move.
class FilterExpression {
 public:
  // Null, and `error` (not null) is filled with byte offset and message, if `text` is no expression, is
  // longer than limits::kFilterExpressionMaxBytes or nests deeper than limits::kFilterExpressionMaxDepth
  // levels.
  static std::unique_ptr<const FilterExpression> Parse(absl::string_view text, RegexError* error,
                                                       Origin origin = Origin::kArriving);
  ~FilterExpression();

  bool Evaluate(const dicom::HeaderFacts& facts) const;
  const std::vector<dicom::Tag>& wanted() const;

  struct Node;

 private:
  FilterExpression();
  std::unique_ptr<const Node> root_;
  std::vector<dicom::Tag> wanted_;
};

}  // namespace narthex::identify
