// Statements: what a line of a script does.
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "base/limits_scripts.h"
#include "imaging/anonymize/script_parser.h"

namespace narthex::anonymize {

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
  if (++nesting_ > nesting_max_) return Fail(at_, "blocks are nested too deeply");
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

}  // namespace narthex::anonymize
