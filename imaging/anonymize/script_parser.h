// The parser of scripts, for parser.cc (words and values) and parser_statement.cc (statements). Used within
// this folder only; single-threaded.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"

#include "base/limits_scripts.h"
#include "imaging/anonymize/ast.h"
#include "imaging/anonymize/parser.h"

namespace narthex::anonymize {

inline bool IsNameStart(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '_'; }
inline bool IsNamePart(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_'; }

// Recursive descent without a separate lexer, because "(", "-", "." and "*" mean different things in
// different places. A function returns false once it has reported a syntax error; the statement is then given
// up.
class Parser {
 public:
  Parser(absl::string_view text, Dialect dialect, Diagnostics* diagnostics, Origin origin)
      : text_(text),
        dialect_(dialect),
        diagnostics_(diagnostics),
        nesting_max_(limits::kScriptMaxNesting.For(origin)) {
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
  const int nesting_max_;
  int nesting_ = 0;
};

}  // namespace narthex::anonymize
