// Filters over sessions in the language of AIP-160, and their translation to SQL with bound parameters.
//
//   auto filter = SessionFilter::Parse("modality = \"MR\" AND scans.parameters.tr > 2000 AND NOT
//   label:\"test*\"");
//
// Grammar (docs/formats/database.md has the fields):
//   filter     = [ expression ]
//   expression = sequence { "AND" sequence }          OR binds tighter than AND, as AIP-160 says
//   sequence   = factor { factor }                    blank between two factors means AND
//   factor     = term { "OR" term }
//   term       = [ "NOT" | "-" ] ( "(" expression ")" | restriction )
//   restriction = field operator value | text         a lone text searches label, subject and scan
//   descriptions operator   = "=" | "!=" | "<" | "<=" | ">" | ">=" | ":"
// ":" is "contains" for texts (case-insensitive) and "is there" with the value *; "=" and "!=" understand a *
// at the start or end of a text. In quotes a backslash takes the next character as it is, so "\*x" is the
// text *x. All conditions on scans.* fields of one filter hold for some scan each. Input is untrusted:
// length, nesting and number of terms are limited. Immutable; thread-compatible.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace narthex::metadata {

struct FilterNode {
  enum class Kind { kAnd, kOr, kNot, kCompare };
  enum class Op { kEq, kNe, kLt, kLe, kGt, kGe, kHas };

  Kind kind = Kind::kCompare;
  std::vector<FilterNode> children;  // kAnd, kOr: two or more; kNot: one
  std::string field;                 // kCompare: as written, e.g. scans.parameters.tr; "" for a lone text
  Op op = Op::kEq;
  std::string value;
  bool quoted = false;  // "2000" and not 2000
  // The first or last character of `value` is a * that stands for anything. One of a single * counts as last.
  bool open_start = false;
  bool open_end = false;
  int column = 0;  // of the field in the text, from 1

  friend bool operator==(const FilterNode& a, const FilterNode& b) {
    return a.kind == b.kind && a.children == b.children && a.field == b.field && a.op == b.op &&
           a.value == b.value && a.quoted == b.quoted && a.open_start == b.open_start &&
           a.open_end == b.open_end;
  }
};

class SessionFilter {
 public:
  SessionFilter() = default;  // matches everything

  // Parses and checks fields, operators and values. INVALID_ARGUMENT (FILTER_INVALID; metadata "column", from
  // 1).
  static absl::StatusOr<SessionFilter> Parse(absl::string_view text);

  bool empty() const { return root_ == nullptr; }
  // Null for the empty filter.
  const FilterNode* root() const { return root_.get(); }
  // The filter in canonical form; parses to an equal one.
  std::string ToString() const;

 private:
  std::shared_ptr<const FilterNode> root_;
};

// A piece of SQL and the values of its parameters, in text form.
struct SqlFragment {
  std::string sql;  // refers to parameters as $<first>, $<first + 1>, ...
  std::vector<std::string> parameters;
};

// What is looked for: sessions, or scans with their sessions.
enum class FilterTarget { kSessions, kScans };

// What the reader sees of shared sessions. kNone: there is none, which is quicker. kAll: everything.
// kNamedProjects: the projects in $1 and what is shared with them; conditions and orders do not tell the
// project, subject and label that a shared session has where it comes from.
enum class Shares { kNone, kAll, kNamedProjects };

// A condition over the rows `s` of table sessions and `u` of its subject; "TRUE" for the empty filter. For
// sessions each condition on scans asks for some scan of the session; for scans all are about the row `c`.
// Parameters start at $first.
SqlFragment CompileFilter(const SessionFilter& filter, int first,
                          FilterTarget target = FilterTarget::kSessions, Shares shares = Shares::kAll);

// One sort key: an expression over `s`, `u` (and `c`) that is never null, and its direction.
struct OrderKey {
  std::string expression;
  std::string type;  // SQL type to cast a page token's value to
  bool descending = false;
};

// A shared session's project and label as the readers of the projects in $1 know them.
extern const char kKnownProject[];
extern const char kKnownLabel[];

// INVALID_ARGUMENT (ORDER_BY_INVALID). With kNamedProjects the keys are those of shared sessions. The
// accession id (and the scan id) are always the last keys, so the order is total.
absl::StatusOr<std::vector<OrderKey>> CompileOrder(absl::string_view order_by,
                                                   FilterTarget target = FilterTarget::kSessions,
                                                   Shares shares = Shares::kAll);

}  // namespace narthex::metadata
