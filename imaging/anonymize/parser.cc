#include "imaging/anonymize/parser.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "imaging/anonymize/functions.h"

namespace narthex::anonymize {
namespace {

bool IsNameStart(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool IsNamePart(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_'; }

// The version that the script names, without parsing it: the dialect decides how to parse.
std::optional<std::string> FindVersion(absl::string_view text) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    absl::string_view line = absl::StripAsciiWhitespace(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!absl::StartsWith(line, "version")) continue;
    line = absl::StripLeadingAsciiWhitespace(line.substr(7));
    if (line.empty() || line[0] != '"') continue;
    return std::string(line.substr(1, line.find('"', 1) - 1));
  }
  return std::nullopt;
}

// Recursive descent without a separate lexer, because "(", "-", "." and "*" mean different things in
// different places. A function returns false once it has reported a syntax error; the statement is then given
// up.
class Parser {
 public:
  Parser(absl::string_view text, Dialect dialect, Diagnostics* diagnostics)
      : text_(text), dialect_(dialect), diagnostics_(diagnostics) {
    line_starts_.push_back(0);
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\n') line_starts_.push_back(i + 1);
    }
  }

  Block Run();

 private:
  bool ParseStatement(Block* block);
  bool ParseKeyword(absl::string_view word, Statement* statement, bool* was_keyword);
  bool ParseDelete(Statement* statement);
  bool ParsePathStatement(Statement* statement);
  bool ParseNameStatement(absl::string_view word, size_t begin, Statement* statement);
  bool ParseValueStatement(Statement* statement);
  bool ParseAction(Statement* statement);
  bool ParseIf(Statement* statement);
  bool ParseBlock(Block* block);
  bool ParseConditionTail(Expression left, Condition* condition);
  bool ParseCondition(Condition* condition);
  bool ParseGuarded(Condition condition, Statement* statement);
  bool ParseDescribe(Statement* statement);
  bool ParseExpression(Expression* expression);
  bool ParseCall(Expression* expression);
  bool ParseArguments(char close, std::vector<Expression>* arguments);
  bool ParseNumber(Expression* expression);
  bool ParseString(std::string* out);
  bool ParsePathHere(PathPattern* path);

  bool Fail(size_t at, absl::string_view message, absl::string_view code = "SYNTAX") {
    const Position position = PositionAt(at);
    diagnostics_->push_back(
        {Severity::kError, position.line, position.column, std::string(code), std::string(message)});
    return false;
  }
  Position PositionAt(size_t at) const {
    const auto next = std::upper_bound(line_starts_.begin(), line_starts_.end(), at);
    const auto line = static_cast<size_t>(next - line_starts_.begin());
    return {static_cast<int>(line), static_cast<int>(at - line_starts_[line - 1]) + 1};
  }
  // Blanks, and a backslash that continues the line.
  void SkipBlanks();
  // Also line ends and comments.
  void SkipLines();
  void SkipToNextLine() {
    while (at_ < text_.size() && text_[at_] != '\n') ++at_;
  }
  char Peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool Take(absl::string_view token) {
    SkipBlanks();
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }
  absl::string_view PeekName() const {
    size_t end = at_;
    if (end < text_.size() && IsNameStart(text_[end])) {
      while (end < text_.size() && IsNamePart(text_[end])) ++end;
    }
    return text_.substr(at_, end - at_);
  }
  bool AtPath() const {
    const char c = Peek();
    return c == '(' || c == '*' || c == '+' || c == '.';
  }
  std::optional<Condition::Operator> TakeOperator();

  const absl::string_view text_;
  const Dialect dialect_;
  Diagnostics* diagnostics_;
  std::vector<size_t> line_starts_;
  size_t at_ = 0;
  int nesting_ = 0;
};

void Parser::SkipBlanks() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c == ' ' || c == '\t' || c == '\r') {
      ++at_;
    } else if (c == '\\' && Peek(1) == '\n') {
      at_ += 2;
    } else if (c == '\\' && Peek(1) == '\r' && Peek(2) == '\n') {
      at_ += 3;
    } else {
      return;
    }
  }
}

void Parser::SkipLines() {
  while (true) {
    SkipBlanks();
    if (Peek() == '\n') {
      ++at_;
    } else if (Peek() == '/' && Peek(1) == '/') {
      SkipToNextLine();
    } else {
      return;
    }
  }
}

std::optional<Condition::Operator> Parser::TakeOperator() {
  if (Take("!=")) return Condition::Operator::kDiffers;
  if (Take("!~")) return Condition::Operator::kMatchesNot;
  if (Take("=")) return Condition::Operator::kEquals;
  if (Take("~")) return Condition::Operator::kMatches;
  return std::nullopt;
}

Block Parser::Run() {
  Block block;
  // A byte order mark is no statement.
  if (absl::StartsWith(text_, "\xef\xbb\xbf")) at_ = 3;
  for (SkipLines(); at_ < text_.size(); SkipLines()) {
    const size_t before = at_;
    if (!ParseStatement(&block)) {
      if (diagnostics_->size() >= kScriptMaxDiagnostics) break;
      SkipToNextLine();
    }
    if (at_ == before) ++at_;  // never stands still
  }
  return block;
}

bool Parser::ParsePathHere(PathPattern* path) {
  size_t consumed = 0, error_at = 0;
  absl::StatusOr<PathPattern> parsed =
      ParsePath(text_.substr(at_), dialect_ == Dialect::kDicomEdit4, &consumed, &error_at);
  if (!parsed.ok()) return Fail(at_ + error_at, parsed.status().message());
  at_ += consumed;
  *path = *std::move(parsed);
  return true;
}

bool Parser::ParseString(std::string* out) {
  const size_t begin = at_++;
  while (true) {
    if (at_ >= text_.size()) return Fail(begin, "the string has no closing quote");
    const char c = text_[at_];
    if (c == '"') break;
    if (c != '\\') {
      out->push_back(c);
      ++at_;
      continue;
    }
    const char next = Peek(1);
    const auto octal = [this](size_t ahead) { return Peek(ahead) >= '0' && Peek(ahead) <= '7'; };
    if (next == '\\') {
      out->push_back('\\');
    } else if (next == 'n' || next == 'r' || next == 't' || next == 'b' || next == 'f' || next == '(' ||
               next == ')' || (octal(1) && octal(2) && octal(3))) {
      out->append({'\\', next});  // stays as it is written, as in XNAT
    } else {
      return Fail(at_,
                  "a backslash in a string must be doubled: \"\\\\d+\"; a quote in a string is not possible");
    }
    at_ += 2;
  }
  ++at_;
  return true;
}

bool Parser::ParseNumber(Expression* expression) {
  expression->kind = Expression::Kind::kNumber;
  const size_t begin = at_;
  if (Peek() == '-') ++at_;
  const size_t digits = at_;
  while (absl::ascii_isdigit(static_cast<unsigned char>(Peek()))) ++at_;
  if (at_ == digits) return Fail(begin, "a number is expected");
  if (Peek() == '.' && absl::ascii_isdigit(static_cast<unsigned char>(Peek(1)))) {
    ++at_;
    while (absl::ascii_isdigit(static_cast<unsigned char>(Peek()))) ++at_;
  }
  expression->text = std::string(text_.substr(begin, at_ - begin));
  return true;
}

bool Parser::ParseArguments(char close, std::vector<Expression>* arguments) {
  SkipLines();
  if (Peek() == close) {
    ++at_;
    return true;
  }
  while (true) {
    SkipLines();
    Expression argument;
    if (!ParseExpression(&argument)) return false;
    arguments->push_back(std::move(argument));
    SkipLines();
    if (Peek() == close) {
      ++at_;
      return true;
    }
    if (Peek() != ',')
      return Fail(at_, absl::StrCat("a comma or \"", std::string(1, close), "\" is expected"));
    ++at_;
  }
}

bool Parser::ParseCall(Expression* expression) {
  expression->kind = Expression::Kind::kCall;
  ++at_;  // the bracket
  if (++nesting_ > kScriptMaxNesting) return Fail(at_, "calls are nested too deeply");
  const bool parsed = ParseArguments(']', &expression->arguments);
  --nesting_;
  return parsed;
}

bool Parser::ParseExpression(Expression* expression) {
  SkipBlanks();
  expression->position = PositionAt(at_);
  const char c = Peek();
  if (c == '"') {
    expression->kind = Expression::Kind::kString;
    return ParseString(&expression->text);
  }
  if (AtPath()) {
    expression->kind = Expression::Kind::kPath;
    return ParsePathHere(&expression->path);
  }
  if (c == '-' || absl::ascii_isdigit(static_cast<unsigned char>(c))) return ParseNumber(expression);
  if (c == '{') {
    expression->kind = Expression::Kind::kList;
    ++at_;
    if (++nesting_ > kScriptMaxNesting) return Fail(at_, "lists are nested too deeply");
    const bool parsed = ParseArguments('}', &expression->arguments);
    --nesting_;
    return parsed;
  }
  const absl::string_view name = PeekName();
  if (name.empty())
    return Fail(at_, "a value is expected: a string, number, tag, variable, list or function[...]");
  at_ += name.size();
  if (name == "new" && dialect_ == Dialect::kDicomEdit4) {
    SkipBlanks();
    const absl::string_view what = PeekName();
    if (what != "UID" && what != "UUID") return Fail(at_, "only \"new UID\" is known");
    at_ += what.size();
    expression->kind = Expression::Kind::kNewUid;
    return true;
  }
  expression->text = std::string(name);
  const size_t behind = at_;
  SkipBlanks();
  if (Peek() == '[') return ParseCall(expression);
  at_ = behind;
  expression->kind = Expression::Kind::kVariable;
  return true;
}

bool Parser::ParseConditionTail(Expression left, Condition* condition) {
  condition->left = std::move(left);
  const size_t at = at_;
  const std::optional<Condition::Operator> op = TakeOperator();
  if (!op.has_value()) {
    if (condition->left.kind == Expression::Kind::kCall) return true;
    return Fail(at, "one of = != ~ !~ is expected: a condition compares two values, or is a function");
  }
  condition->op = *op;
  return ParseExpression(&condition->right);
}

bool Parser::ParseCondition(Condition* condition) {
  Expression left;
  return ParseExpression(&left) && ParseConditionTail(std::move(left), condition);
}

// condition ? action : action
bool Parser::ParseGuarded(Condition condition, Statement* statement) {
  SkipBlanks();
  const bool question = Peek() == '?' && Peek(1) != '=';
  const bool colon = dialect_ == Dialect::kDicomEdit4 && Peek() == ':' && Peek(1) != '=';
  if (!question && !colon) return Fail(at_, "\"?\" and what to do is expected behind the condition");
  ++at_;
  statement->kind = Statement::Kind::kBranches;
  Branch then;
  then.condition = std::move(condition);
  Statement action;
  if (!ParseAction(&action)) return false;
  then.block.push_back(std::move(action));
  statement->branches.push_back(std::move(then));
  SkipBlanks();
  if (!question || Peek() != ':' || Peek(1) == '=') return true;
  ++at_;
  Branch otherwise;
  otherwise.has_condition = false;
  Statement alternative;
  if (!ParseAction(&alternative)) return false;
  otherwise.block.push_back(std::move(alternative));
  statement->branches.push_back(std::move(otherwise));
  return true;
}

bool Parser::ParseDelete(Statement* statement) {
  ++at_;  // the minus
  SkipBlanks();
  statement->kind = Statement::Kind::kDelete;
  return ParsePathHere(&statement->target);
}

bool Parser::ParsePathStatement(Statement* statement) {
  const size_t begin = at_;
  PathPattern path;
  if (!ParsePathHere(&path)) return false;
  if (Take(":=") || Take("?=")) {
    statement->kind = text_[at_ - 2] == ':' ? Statement::Kind::kAssign : Statement::Kind::kAssignIfPresent;
    statement->target = std::move(path);
    return ParseExpression(&statement->value);
  }
  Expression left;
  left.kind = Expression::Kind::kPath;
  left.position = PositionAt(begin);
  left.path = std::move(path);
  Condition condition;
  return ParseConditionTail(std::move(left), &condition) && ParseGuarded(std::move(condition), statement);
}

bool Parser::ParseNameStatement(absl::string_view word, size_t begin, Statement* statement) {
  at_ = begin + word.size();
  if (Take(":=")) {
    statement->kind = Statement::Kind::kSetVariable;
    statement->name = std::string(word);
    return ParseExpression(&statement->value);
  }
  Expression value;
  value.position = PositionAt(begin);
  value.text = std::string(word);
  value.kind = Expression::Kind::kVariable;
  if (Peek() == '[') {
    if (!ParseCall(&value)) return false;
    SkipBlanks();
    const char next = Peek();
    const bool guards = (next == '?' && Peek(1) != '=') ||
                        (dialect_ == Dialect::kDicomEdit4 && next == ':' && Peek(1) != '=');
    if (!guards && next != '=' && next != '~' && next != '!') {
      statement->kind = Statement::Kind::kCall;
      statement->value = std::move(value);
      return true;
    }
  }
  Condition condition;
  return ParseConditionTail(std::move(value), &condition) && ParseGuarded(std::move(condition), statement);
}

bool Parser::ParseValueStatement(Statement* statement) {
  Condition condition;
  return ParseCondition(&condition) && ParseGuarded(std::move(condition), statement);
}

bool Parser::ParseDescribe(Statement* statement) {
  SkipBlanks();
  statement->kind = Statement::Kind::kDescribe;
  const absl::string_view name = PeekName();
  if (name.empty()) return Fail(at_, "the name of a variable is expected behind describe");
  statement->name = std::string(name);
  at_ += name.size();
  SkipBlanks();
  if (Peek() == '"') return ParseString(&statement->text);
  const absl::string_view word = PeekName();
  if (word != "hidden" && word != "const" && word != "immutable") {
    return Fail(at_, "a string, hidden, const or immutable is expected");
  }
  at_ += word.size();
  return true;
}

bool Parser::ParseKeyword(absl::string_view word, Statement* statement, bool* was_keyword) {
  *was_keyword = true;
  const size_t begin = at_;
  at_ += word.size();
  SkipBlanks();
  if (word == "version") {
    statement->kind = Statement::Kind::kVersion;
    if (Peek() != '"') return Fail(at_, "a version is expected: version \"6.6\"");
    return ParseString(&statement->text);
  }
  if (word == "describe") return ParseDescribe(statement);
  if (word == "export") {
    statement->kind = Statement::Kind::kExport;
    statement->name = std::string(PeekName());
    if (statement->name.empty()) return Fail(at_, "the name of a variable is expected behind export");
    at_ += statement->name.size();
    SkipBlanks();
    if (Peek() != '"') return Fail(at_, "the session's field is expected as a string");
    return ParseString(&statement->text);
  }
  if (word == "echo") {
    statement->kind = Statement::Kind::kEcho;
    statement->has_value =
        at_ < text_.size() && Peek() != '\n' && Peek() != '}' && !(Peek() == '/' && Peek(1) == '/');
    return !statement->has_value || ParseExpression(&statement->value);
  }
  if (word == "removeAllPrivateTags") {
    statement->kind = Statement::Kind::kRemoveAllPrivate;
    if (Peek() == '[') return Fail(at_, "removeAllPrivateTags is written without brackets");
    return true;
  }
  if (word == "if") return ParseIf(statement);
  if (word == "elseif" || word == "else") return Fail(begin, absl::StrCat(word, " without an if before it"));
  at_ = begin;
  *was_keyword = false;
  return true;
}

bool Parser::ParseAction(Statement* statement) {
  SkipBlanks();
  statement->position = PositionAt(at_);
  const size_t begin = at_;
  if (Peek() == '-') return ParseDelete(statement);
  if (AtPath()) {
    if (!ParsePathStatement(statement)) return false;
  } else {
    const absl::string_view word = PeekName();
    if (word.empty()) return Fail(at_, "an action is expected: an assignment, a deletion or function[...]");
    bool was_keyword = false;
    if (!ParseKeyword(word, statement, &was_keyword)) return false;
    if (!was_keyword && !ParseNameStatement(word, begin, statement)) return false;
  }
  const bool action =
      statement->kind != Statement::Kind::kBranches && statement->kind != Statement::Kind::kVersion &&
      statement->kind != Statement::Kind::kDescribe && statement->kind != Statement::Kind::kExport;
  return action || Fail(begin, "only an assignment, a deletion, echo or function[...] can stand here");
}

bool Parser::ParseBlock(Block* block) {
  SkipLines();
  if (Peek() != '{') return Fail(at_, "\"{\" is expected");
  ++at_;
  if (++nesting_ > kScriptMaxNesting) return Fail(at_, "blocks are nested too deeply");
  for (SkipLines(); Peek() != '}'; SkipLines()) {
    if (at_ >= text_.size()) return Fail(at_, "the block has no closing \"}\"");
    if (!ParseStatement(block)) return false;
  }
  ++at_;
  --nesting_;
  return true;
}

bool Parser::ParseIf(Statement* statement) {
  statement->kind = Statement::Kind::kBranches;
  while (true) {
    Branch branch;
    if (!Take("(")) return Fail(at_, "\"(\" is expected");
    if (!ParseCondition(&branch.condition)) return false;
    if (!Take(")")) return Fail(at_, "\")\" is expected behind the condition");
    if (!ParseBlock(&branch.block)) return false;
    statement->branches.push_back(std::move(branch));
    const size_t behind = at_;
    SkipLines();
    const absl::string_view word = PeekName();
    if (word == "elseif") {
      at_ += word.size();
      continue;
    }
    if (word != "else") {
      at_ = behind;
      return true;
    }
    at_ += word.size();
    Branch otherwise;
    otherwise.has_condition = false;
    if (!ParseBlock(&otherwise.block)) return false;
    statement->branches.push_back(std::move(otherwise));
    return true;
  }
}

bool Parser::ParseStatement(Block* block) {
  Statement statement;
  statement.position = PositionAt(at_);
  const size_t begin = at_;
  const int nesting = nesting_;
  bool parsed;
  bool was_keyword = false;
  const absl::string_view word = PeekName();
  if (Peek() == '-') {
    parsed = ParseDelete(&statement);
  } else if (AtPath()) {
    parsed = ParsePathStatement(&statement);
  } else if (word.empty()) {
    parsed = ParseValueStatement(&statement);
  } else {
    parsed = ParseKeyword(word, &statement, &was_keyword);
    if (parsed && !was_keyword) parsed = ParseNameStatement(word, begin, &statement);
  }
  if (!parsed) {
    nesting_ = nesting;
    return false;
  }
  block->push_back(std::move(statement));
  return true;
}

}  // namespace

ParsedScript Parse(absl::string_view text, Diagnostics* diagnostics) {
  ParsedScript script;
  script.version = "4";
  if (text.size() > kScriptMaxBytes) {
    diagnostics->push_back({Severity::kError, 0, 0, "TOO_LARGE",
                            absl::StrCat("the script exceeds ", kScriptMaxBytes, " bytes")});
    return script;
  }
  if (const std::optional<std::string> version = FindVersion(text)) {
    script.version = *version;
    script.dialect = absl::StartsWith(*version, "4") ? Dialect::kDicomEdit4 : Dialect::kDicomEdit6;
  }
  script.statements = Parser(text, script.dialect, diagnostics).Run();
  return script;
}

}  // namespace narthex::anonymize
