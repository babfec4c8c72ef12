// XNAT's routing rules. One rule a line:
//
//   (gggg,eeee):regex[:group][ t:target r:replacement]
//
//   (0010,0020):^([^_]+)_.*$:1        the part of the PatientID before the first underscore
//   PatientID:^([^_]+)_.*$            the same: keywords work too, and group 1 is the default
//   CalledAETitle:^SCAN_(.*)$         also CallingAETitle
//   (0010,0020):(.*) t:[ -] r:_       replaces every match of `target` in the result
//
// Blank lines and lines that begin with '#' are skipped. The expression must match the whole (first) value of
// the attribute. docs/routing.md is the full description, also of what differs from Java's expressions.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/limit.h"
#include "imaging/dicom/tag.h"
#include "imaging/identify/java_regex.h"

namespace narthex::dicom {
class HeaderFacts;
}

namespace narthex::identify {

// What the network said about who sends to whom; empty where it said nothing.
struct AeTitles {
  absl::string_view called;
  absl::string_view calling;
};

// Where a rule takes its value from.
class ValueSource {
 public:
  enum class Kind { kAttribute, kCalledAeTitle, kCallingAeTitle };

  // Reads "(0010,0020)", "PatientID", "CalledAETitle" or "CallingAETitle" (the two in any case).
  // INVALID_ARGUMENT (INVALID_TAG): none of these.
  static absl::StatusOr<ValueSource> Parse(absl::string_view text);

  Kind kind() const { return kind_; }
  dicom::Tag tag() const { return tag_; }            // if kind() is kAttribute
  const std::string& name() const { return name_; }  // keyword, "(gggg,eeee)", or "CalledAETitle"

  // The first value without surrounding blanks (all of it for LT, ST and UT); "" if absent. Lives as long as
  // `facts` and `ae`, or until `scratch` (which must outlive its use) changes.
  absl::string_view Value(const dicom::HeaderFacts& facts, const AeTitles& ae, std::string& scratch) const;

 private:
  Kind kind_ = Kind::kAttribute;
  dicom::Tag tag_;
  bool multi_valued_ = true;
  std::string name_;
};

struct Rule {
  int line = 0;  // counted from 1
  ValueSource source;
  std::unique_ptr<const RE2> regex;
  int group = 1;
  std::unique_ptr<const RE2> target;  // null: no replacement
  std::string replacement;            // in RE2's notation

  // What the rule makes of `value`, cut to limits::kLabelMaxBytes; nullopt if it does not match or makes
  // nothing.
  std::optional<std::string> Apply(absl::string_view value) const;
};

// A checked list of rules. Immutable; thread-safe.
class RuleSet {
 public:
  RuleSet() = default;

  // `name` is for error messages: "site project rules". INVALID_ARGUMENT (INVALID_SCRIPT, metadata
  // "line", "column", "rules"): some line is no rule; the message names line, column and what is wrong; all
  // bad lines are reported, up to ten. Also for over limits::kRulesMaxBytes or limits::kRulesMax rules.
  static absl::StatusOr<RuleSet> Parse(absl::string_view text, absl::string_view name,
                                       Origin origin = Origin::kArriving);

  const std::vector<Rule>& rules() const { return rules_; }
  bool empty() const { return rules_.empty(); }

 private:
  std::vector<Rule> rules_;
};

}  // namespace narthex::identify
