#include "imaging/anonymize/parser.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/limits_scripts.h"
#include "imaging/anonymize/script_parser.h"

namespace narthex::anonymize {
namespace {

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

}  // namespace

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
      if (diagnostics_->size() >= limits::kScriptMaxDiagnostics) break;
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
  if (++nesting_ > nesting_max_) return Fail(at_, "calls are nested too deeply");
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
    if (++nesting_ > nesting_max_) return Fail(at_, "lists are nested too deeply");
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

ParsedScript Parse(absl::string_view text, Diagnostics* diagnostics, Origin origin) {
  ParsedScript script;
  script.version = "4";
  const size_t max_bytes = limits::kScriptMaxBytes.For(origin);
  if (text.size() > max_bytes) {
    diagnostics->push_back(
        {Severity::kError, 0, 0, "TOO_LARGE", absl::StrCat("the script exceeds ", max_bytes, " bytes")});
    return script;
  }
  if (const std::optional<std::string> version = FindVersion(text)) {
    script.version = *version;
    script.dialect = absl::StartsWith(*version, "4") ? Dialect::kDicomEdit4 : Dialect::kDicomEdit6;
  }
  script.statements = Parser(text, script.dialect, diagnostics, origin).Run();
  return script;
}

}  // namespace narthex::anonymize
