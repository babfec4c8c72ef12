// Parsing filters. Translation to SQL is in session_filter_sql.cc.
#include "storage/metadata/session_filter.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits_storage.h"
#include "base/status.h"
#include "storage/metadata/session_fields.h"

namespace narthex::metadata {
namespace {

absl::Status Invalid(size_t position, absl::string_view what) {
  return InvalidArgument("FILTER_INVALID", absl::StrCat("filter, column ", position + 1, ": ", what),
                         {{"column", absl::StrCat(position + 1)}});
}

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Characters that end a bare word. Behind an operator a ':' may be part of it (12:30, 2024-01-01T00:00:00Z).
bool EndsWord(char c, bool is_value) {
  return IsBlank(c) || c == '(' || c == ')' || c == '<' || c == '>' || c == '=' || c == '!' || c == '"' ||
         c == '\'' || c == ',' || (c == ':' && !is_value);
}

class Parser {
 public:
  explicit Parser(absl::string_view text) : text_(text) {}

  absl::StatusOr<std::shared_ptr<const FilterNode>> Run() {
    if (text_.size() > limits::kFilterMaxBytes)
      return Invalid(limits::kFilterMaxBytes,
                     absl::StrCat("a filter is at most ", limits::kFilterMaxBytes.get() >> 10, " KiB"));
    SkipBlanks();
    if (AtEnd()) return std::shared_ptr<const FilterNode>();
    NX_ASSIGN_OR_RETURN(FilterNode root, Expression(0));
    if (!AtEnd()) return Invalid(at_, "there is a ) too many");
    return std::make_shared<const FilterNode>(std::move(root));
  }

 private:
  bool AtEnd() const { return at_ >= text_.size(); }
  char Peek() const { return AtEnd() ? '\0' : text_[at_]; }

  void SkipBlanks() {
    while (!AtEnd() && IsBlank(text_[at_])) ++at_;
  }

  // A keyword in capitals that stands alone.
  bool PeekKeyword(absl::string_view word) const {
    if (text_.substr(std::min(at_, text_.size()), word.size()) != word) return false;
    const size_t end = at_ + word.size();
    return end >= text_.size() || EndsWord(text_[end], false);
  }

  bool TakeKeyword(absl::string_view word) {
    if (!PeekKeyword(word)) return false;
    at_ += word.size();
    SkipBlanks();
    return true;
  }

  // All that AND or a blank connect.
  absl::StatusOr<FilterNode> Expression(int depth) {
    std::vector<FilterNode> parts;
    do {
      NX_ASSIGN_OR_RETURN(FilterNode part, Factor(depth));
      parts.push_back(std::move(part));
      SkipBlanks();
      if (TakeKeyword("AND") && (AtEnd() || Peek() == ')'))
        return Invalid(at_, "AND needs something behind it");
    } while (!AtEnd() && Peek() != ')');
    return Combine(FilterNode::Kind::kAnd, std::move(parts));
  }

  absl::StatusOr<FilterNode> Factor(int depth) {
    std::vector<FilterNode> parts;
    do {
      NX_ASSIGN_OR_RETURN(FilterNode part, Term(depth));
      parts.push_back(std::move(part));
      SkipBlanks();
    } while (TakeKeyword("OR"));
    return Combine(FilterNode::Kind::kOr, std::move(parts));
  }

  absl::StatusOr<FilterNode> Term(int depth) {
    SkipBlanks();
    if (depth > limits::kFilterMaxDepth)
      return Invalid(at_, absl::StrCat("more than ", limits::kFilterMaxDepth.get(), " levels of nesting"));
    const bool minus = Peek() == '-';
    if (minus) ++at_;
    if (minus || TakeKeyword("NOT")) {
      NX_ASSIGN_OR_RETURN(FilterNode inner, Term(depth + 1));
      FilterNode node;
      node.kind = FilterNode::Kind::kNot;
      node.children.push_back(std::move(inner));
      return node;
    }
    if (Peek() == '(') {
      ++at_;
      SkipBlanks();
      NX_ASSIGN_OR_RETURN(FilterNode inner, Expression(depth + 1));
      if (Peek() != ')') return Invalid(at_, "a ) is missing");
      ++at_;
      return inner;
    }
    return Restriction();
  }

  absl::StatusOr<FilterNode> Restriction() {
    if (++terms_ > limits::kFilterMaxTerms)
      return Invalid(at_, absl::StrCat("more than ", limits::kFilterMaxTerms.get(), " conditions"));
    FilterNode node;
    node.column = static_cast<int>(at_) + 1;
    if (PeekKeyword("AND") || PeekKeyword("OR")) return Invalid(at_, "expected a condition, found AND or OR");
    NX_ASSIGN_OR_RETURN(Word word, TakeWord(false));
    SkipBlanks();
    if (!TakeOperator(&node.op)) {
      if (Peek() == '!' || Peek() == ',')
        return Invalid(at_, absl::StrCat("unexpected ", std::string(1, Peek())));
      node.op = FilterNode::Op::kHas;
      TakeValue(std::move(word), node);
      return node;
    }
    if (word.quoted) return Invalid(node.column - 1, "a field's name has no quotes");
    node.field = std::move(word.text);
    SkipBlanks();
    const size_t value_at = at_;
    if (PeekKeyword("AND") || PeekKeyword("OR") || PeekKeyword("NOT"))
      return Invalid(at_, "expected a value");
    NX_ASSIGN_OR_RETURN(Word value, TakeWord(true));
    TakeValue(std::move(value), node);
    const std::string problem = CheckRestriction(node);
    if (!problem.empty()) return Invalid(FindField(node.field) ? value_at : node.column - 1, problem);
    return node;
  }

  bool TakeOperator(FilterNode::Op* op) {
    using Op = FilterNode::Op;
    static constexpr std::pair<absl::string_view, Op> kOperators[] = {
        {"!=", Op::kNe}, {"<=", Op::kLe}, {">=", Op::kGe}, {"=", Op::kEq},
        {"<", Op::kLt},  {">", Op::kGt},  {":", Op::kHas}};
    for (const auto& [text, value] : kOperators) {
      if (text_.substr(std::min(at_, text_.size()), text.size()) != text) continue;
      at_ += text.size();
      *op = value;
      return true;
    }
    return false;
  }

  struct Word {
    std::string text;
    bool quoted = false;
    bool literal_start = false;  // the first character stood behind a backslash
    bool literal_end = false;
  };

  static void TakeValue(Word word, FilterNode& node) {
    node.value = std::move(word.text);
    node.quoted = word.quoted;
    node.open_end = absl::EndsWith(node.value, "*") && !word.literal_end;
    node.open_start = absl::StartsWith(node.value, "*") && !word.literal_start && node.value.size() > 1;
  }

  absl::StatusOr<Word> TakeWord(bool is_value) {
    if (Peek() == '"' || Peek() == '\'') return TakeQuoted();
    const size_t begin = at_;
    while (!AtEnd() && !EndsWord(text_[at_], is_value)) ++at_;
    if (at_ == begin) {
      if (AtEnd()) return Invalid(at_, is_value ? "a value is missing" : "a condition is missing");
      return Invalid(
          at_, absl::StrCat("unexpected ", absl::ascii_isprint(Peek()) ? std::string(1, Peek()) : "byte"));
    }
    Word word;
    word.text = std::string(text_.substr(begin, at_ - begin));
    return word;
  }

  absl::StatusOr<Word> TakeQuoted() {
    const size_t begin = at_;
    const char quote = text_[at_++];
    Word word;
    word.quoted = true;
    while (!AtEnd() && text_[at_] != quote) {
      word.literal_end = text_[at_] == '\\' && at_ + 1 < text_.size();
      if (word.literal_end) ++at_;
      if (word.text.empty()) word.literal_start = word.literal_end;
      word.text.push_back(text_[at_++]);
    }
    if (AtEnd()) return Invalid(begin, "the quotes are not closed");
    ++at_;
    return word;
  }

  static FilterNode Combine(FilterNode::Kind kind, std::vector<FilterNode> parts) {
    if (parts.size() == 1) return std::move(parts.front());
    FilterNode node;
    node.kind = kind;
    node.children = std::move(parts);
    return node;
  }

  const absl::string_view text_;
  size_t at_ = 0;
  int terms_ = 0;
};

std::string Quote(const FilterNode& node) {
  const std::string& text = node.value;
  std::string out = "\"";
  for (size_t i = 0; i < text.size(); ++i) {
    const bool open = (i == 0 && node.open_start) || (i + 1 == text.size() && node.open_end);
    const bool at_end = i == 0 || i + 1 == text.size();
    if (text[i] == '"' || text[i] == '\\' || (text[i] == '*' && at_end && !open)) out.push_back('\\');
    out.push_back(text[i]);
  }
  return out + "\"";
}

std::string Print(const FilterNode& node);

std::string PrintChild(const FilterNode& child, bool parentheses) {
  return parentheses ? absl::StrCat("(", Print(child), ")") : Print(child);
}

std::string Print(const FilterNode& node) {
  using Kind = FilterNode::Kind;
  static constexpr absl::string_view kOperators[] = {" = ", " != ", " < ", " <= ", " > ", " >= ", ":"};
  std::string out;
  switch (node.kind) {
    case Kind::kNot:
      // No parentheses around a NOT: they would count as a level of nesting that the text did not have.
      return absl::StrCat("NOT ", PrintChild(node.children[0], node.children[0].kind == Kind::kAnd ||
                                                                   node.children[0].kind == Kind::kOr));
    case Kind::kAnd:
      for (const FilterNode& child : node.children) {
        absl::StrAppend(&out, out.empty() ? "" : " AND ", PrintChild(child, child.kind == Kind::kAnd));
      }
      return out;
    case Kind::kOr:
      for (const FilterNode& child : node.children) {
        absl::StrAppend(&out, out.empty() ? "" : " OR ",
                        PrintChild(child, child.kind == Kind::kAnd || child.kind == Kind::kOr));
      }
      return out;
    case Kind::kCompare:
      break;
  }
  const std::string value = node.quoted ? Quote(node) : node.value;
  if (node.field.empty()) return value;
  return absl::StrCat(node.field, kOperators[static_cast<size_t>(node.op)], value);
}

}  // namespace

absl::StatusOr<SessionFilter> SessionFilter::Parse(absl::string_view text) {
  SessionFilter filter;
  NX_ASSIGN_OR_RETURN(filter.root_, Parser(text).Run());
  return filter;
}

std::string SessionFilter::ToString() const { return root_ ? Print(*root_) : std::string(); }

}  // namespace narthex::metadata
