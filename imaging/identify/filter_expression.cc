#include "imaging/identify/filter_expression.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/limits_routing.h"
#include "imaging/dicom/dictionary.h"
#include "imaging/dicom/header_facts.h"
#include "imaging/identify/header_value.h"

namespace narthex::identify {
namespace {

// Text with attributes in it.
struct Operand {
  struct Part {
    std::string literal;
    dicom::Tag tag;  // if literal is unused
    bool is_tag = false;
  };
  std::vector<Part> parts;
  bool is_number = false;  // written without quotes
  size_t offset = 0;

  bool constant() const {
    return std::none_of(parts.begin(), parts.end(), [](const Part& part) { return part.is_tag; });
  }
  std::string Text(const dicom::HeaderFacts& facts) const {
    std::string text, scratch;
    for (const Part& part : parts) {
      absl::StrAppend(&text,
                      part.is_tag ? HeaderValue(facts, part.tag, scratch) : absl::string_view(part.literal));
    }
    return text;
  }
};

}  // namespace

struct FilterExpression::Node {
  enum class Kind { kOr, kAnd, kNot, kEqual, kMatch, kTruthy, kConstant };
  Kind kind = Kind::kConstant;
  bool value = false;  // of kConstant
  std::vector<std::unique_ptr<const Node>> children;
  Operand left, right;
  std::unique_ptr<const RE2> regex;
};

namespace {

using Node = FilterExpression::Node;
using NodePtr = std::unique_ptr<const Node>;

// The two sides of ==. A number without quotes is compared as one, as JavaScript would.
bool Equal(const Operand& left, const Operand& right, const dicom::HeaderFacts& facts) {
  const std::string a = left.Text(facts), b = right.Text(facts);
  if (a == b) return true;
  double x = 0, y = 0;
  return (left.is_number || right.is_number) && absl::SimpleAtod(a, &x) && absl::SimpleAtod(b, &y) && x == y;
}

bool Holds(const Node& node, const dicom::HeaderFacts& facts) {
  const auto holds = [&](const NodePtr& child) { return Holds(*child, facts); };
  switch (node.kind) {
    case Node::Kind::kOr:
      return std::any_of(node.children.begin(), node.children.end(), holds);
    case Node::Kind::kAnd:
      return std::all_of(node.children.begin(), node.children.end(), holds);
    case Node::Kind::kNot:
      return !Holds(*node.children[0], facts);
    case Node::Kind::kEqual:
      return Equal(node.left, node.right, facts);
    case Node::Kind::kMatch: {
      const std::string text = node.left.Text(facts);
      return node.regex->Match(text, 0, text.size(), RE2::UNANCHORED, nullptr, 0);
    }
    case Node::Kind::kTruthy:
      return !node.left.Text(facts).empty();
    case Node::Kind::kConstant:
      return node.value;
  }
  return false;
}

// Recursive descent, at most limits::kFilterExpressionMaxDepth deep. After a failure every function returns
// null.
class Parser {
 public:
  Parser(absl::string_view text, RegexError* error, std::vector<dicom::Tag>* wanted, Origin origin)
      : text_(text), error_(error), wanted_(wanted), origin_(origin) {}

  NodePtr Run() {
    NodePtr node = Or();
    SkipBlanks();
    if (node != nullptr && at_ < text_.size()) return Fail(at_, "expected the end, '&&' or '||' here");
    return node;
  }

 private:
  NodePtr Fail(size_t offset, absl::string_view message) {
    *error_ = {offset, std::string(message)};
    return nullptr;
  }
  void SkipBlanks() {
    while (at_ < text_.size() && absl::ascii_isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
  }
  bool Consume(absl::string_view token) {
    SkipBlanks();
    if (!absl::StartsWith(text_.substr(at_), token)) return false;
    at_ += token.size();
    return true;
  }

  NodePtr Chain(Node::Kind kind, absl::string_view token, NodePtr (Parser::*next)());
  NodePtr Or() { return Chain(Node::Kind::kOr, "||", &Parser::And); }
  NodePtr And() { return Chain(Node::Kind::kAnd, "&&", &Parser::Not); }
  NodePtr Not();
  NodePtr Primary();
  NodePtr Comparison();
  NodePtr RegexTest();
  bool ReadOperand(Operand* operand);
  bool ReadQuoted(Operand* operand);
  bool ReadTag(absl::string_view name, size_t offset, Operand* operand);
  NodePtr MatchOf(Operand left, absl::string_view regex, size_t offset, bool case_insensitive);
  static NodePtr Negated(bool negate, NodePtr node) {
    if (!negate || node == nullptr) return node;
    auto negation = std::make_unique<Node>();
    negation->kind = Node::Kind::kNot;
    negation->children.push_back(std::move(node));
    return negation;
  }

  absl::string_view text_;
  RegexError* error_;
  std::vector<dicom::Tag>* wanted_;
  const Origin origin_;
  size_t at_ = 0;
  int depth_ = 0;
};

NodePtr Parser::Chain(Node::Kind kind, absl::string_view token, NodePtr (Parser::*next)()) {
  NodePtr first = (this->*next)();
  if (first == nullptr || !Consume(token)) return first;
  auto node = std::make_unique<Node>();
  node->kind = kind;
  node->children.push_back(std::move(first));
  do {
    NodePtr operand = (this->*next)();
    if (operand == nullptr) return nullptr;
    node->children.push_back(std::move(operand));
  } while (Consume(token));
  return node;
}

NodePtr Parser::Not() {
  bool negate = false;
  while (Consume("!")) negate = !negate;
  return Negated(negate, Primary());
}

NodePtr Parser::Primary() {
  SkipBlanks();
  if (Consume("(")) {
    if (const int depth_max = limits::kFilterExpressionMaxDepth.For(origin_); ++depth_ > depth_max)
      return Fail(at_ - 1, absl::StrCat("more than ", depth_max, " parentheses within each other"));
    NodePtr node = Or();
    --depth_;
    if (node != nullptr && !Consume(")")) return Fail(at_, "expected ')' here");
    return node;
  }
  if (absl::StartsWith(text_.substr(at_), "/")) return RegexTest();
  for (const bool value : {true, false}) {
    const absl::string_view word = value ? "true" : "false";
    const absl::string_view rest = text_.substr(at_);
    if (!absl::StartsWith(rest, word)) continue;
    at_ += word.size();
    auto node = std::make_unique<Node>();
    node->value = value;
    return node;
  }
  return Comparison();
}

NodePtr Parser::MatchOf(Operand left, absl::string_view regex, size_t offset, bool case_insensitive) {
  RegexError inner;
  auto node = std::make_unique<Node>();
  node->kind = Node::Kind::kMatch;
  node->left = std::move(left);
  node->regex = CompileJavaRegex(regex, {.case_insensitive = case_insensitive, .origin = origin_}, &inner);
  if (node->regex == nullptr) return Fail(offset + inner.offset, inner.message);
  return node;
}

NodePtr Parser::Comparison() {
  auto node = std::make_unique<Node>();
  if (!ReadOperand(&node->left)) return nullptr;
  const bool unequal = Consume("!==") || Consume("!=");
  if (unequal || Consume("===") || Consume("==")) {
    node->kind = Node::Kind::kEqual;
    if (!ReadOperand(&node->right)) return nullptr;
    return Negated(unequal, std::move(node));
  }
  const bool no_match = Consume("!~");
  if (no_match || Consume("~")) {
    Operand regex;
    if (!ReadOperand(&regex)) return nullptr;
    if (!regex.constant()) return Fail(regex.offset, "an expression to search for may not contain #Tag#");
    const std::string pattern = regex.parts.empty() ? "" : regex.parts[0].literal;
    return Negated(no_match,
                   MatchOf(std::move(node->left), pattern, regex.offset + 1, /*case_insensitive=*/true));
  }
  node->kind = Node::Kind::kTruthy;
  return node;
}

NodePtr Parser::RegexTest() {
  const size_t begin = ++at_;
  std::string pattern;
  for (bool in_class = false; at_ < text_.size() && (in_class || text_[at_] != '/'); ++at_) {
    if (text_[at_] == '\\' && at_ + 1 < text_.size()) {
      if (text_[at_ + 1] != '/') pattern += '\\';
      ++at_;
    } else if (text_[at_] == '[') {
      in_class = true;
    } else if (text_[at_] == ']') {
      in_class = false;
    }
    pattern += text_[at_];
  }
  if (at_ >= text_.size()) return Fail(begin - 1, "this '/' is never closed");
  ++at_;
  bool case_insensitive = false;
  for (; at_ < text_.size() && absl::ascii_isalpha(static_cast<unsigned char>(text_[at_])); ++at_) {
    if (text_[at_] != 'i') return Fail(at_, "the only flag is 'i'");
    case_insensitive = true;
  }
  if (!Consume(".") || !Consume("test") || !Consume("(")) return Fail(at_, "expected .test( here");
  Operand operand;
  if (!ReadOperand(&operand)) return nullptr;
  if (!Consume(")")) return Fail(at_, "expected ')' here");
  return MatchOf(std::move(operand), pattern, begin, case_insensitive);
}

bool Parser::ReadTag(absl::string_view name, size_t offset, Operand* operand) {
  const absl::StatusOr<dicom::Tag> tag = dicom::ParseTag(name);
  if (!tag.ok())
    return Fail(offset, absl::StrCat("'", name, "' is no DICOM keyword and no (gggg,eeee)")) != nullptr;
  operand->parts.push_back({.tag = *tag, .is_tag = true});
  wanted_->push_back(*tag);
  return true;
}

// Within quotes '\' makes the next character literal, except before characters that only expressions use.
bool Parser::ReadQuoted(Operand* operand) {
  const char quote = text_[at_];
  const size_t begin = at_++;
  std::string literal;
  for (; at_ < text_.size() && text_[at_] != quote; ++at_) {
    if (text_[at_] == '\\' && at_ + 1 < text_.size() && (text_[at_ + 1] == quote || text_[at_ + 1] == '#')) {
      literal += text_[++at_];
      continue;
    }
    if (text_[at_] == '#') {
      const size_t end = text_.find('#', at_ + 1);
      if (end == absl::string_view::npos)
        return Fail(at_, "this '#' begins a tag that never ends; write \\#") != nullptr;
      if (!literal.empty()) operand->parts.push_back({.literal = std::exchange(literal, {})});
      if (!ReadTag(text_.substr(at_ + 1, end - at_ - 1), at_ + 1, operand)) return false;
      at_ = end;
      continue;
    }
    literal += text_[at_];
  }
  if (at_ >= text_.size()) return Fail(begin, "this quote is never closed") != nullptr;
  ++at_;
  if (!literal.empty()) operand->parts.push_back({.literal = std::move(literal)});
  return true;
}

bool Parser::ReadOperand(Operand* operand) {
  SkipBlanks();
  operand->offset = at_;
  const char c = at_ < text_.size() ? text_[at_] : '\0';
  if (c == '\'' || c == '"') return ReadQuoted(operand);
  if (c == '#') {
    const size_t end = text_.find('#', at_ + 1);
    if (end == absl::string_view::npos) return Fail(at_, "this '#' begins a tag that never ends") != nullptr;
    const size_t begin = at_ + 1;
    at_ = end + 1;
    return ReadTag(text_.substr(begin, end - begin), begin, operand);
  }
  const size_t begin = at_;
  if (c == '-') ++at_;
  while (at_ < text_.size() &&
         (absl::ascii_isdigit(static_cast<unsigned char>(text_[at_])) || text_[at_] == '.'))
    ++at_;
  double number = 0;
  if (!absl::SimpleAtod(text_.substr(begin, at_ - begin), &number)) {
    return Fail(begin, "expected 'text', #Tag#, a number, '(' or /expression/ here") != nullptr;
  }
  operand->parts.push_back({.literal = std::string(text_.substr(begin, at_ - begin))});
  operand->is_number = true;
  return true;
}

}  // namespace

FilterExpression::FilterExpression() = default;
FilterExpression::~FilterExpression() = default;

std::unique_ptr<const FilterExpression> FilterExpression::Parse(absl::string_view text, RegexError* error,
                                                                Origin origin) {
  const size_t max_bytes = limits::kFilterExpressionMaxBytes.For(origin);
  if (text.size() > max_bytes) {
    *error = {max_bytes, absl::StrCat("an expression may have ", max_bytes, " bytes")};
    return nullptr;
  }
  std::unique_ptr<FilterExpression> expression(new FilterExpression);
  expression->root_ = Parser(text, error, &expression->wanted_, origin).Run();
  if (expression->root_ == nullptr) return nullptr;
  std::vector<dicom::Tag>& wanted = expression->wanted_;
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  return expression;
}

bool FilterExpression::Evaluate(const dicom::HeaderFacts& facts) const { return Holds(*root_, facts); }
const std::vector<dicom::Tag>& FilterExpression::wanted() const { return wanted_; }

}  // namespace narthex::identify
