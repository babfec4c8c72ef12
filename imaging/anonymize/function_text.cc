#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "base/status.h"
#include "imaging/anonymize/function_bodies.h"
#include "imaging/anonymize/regex.h"
#include "imaging/anonymize/text_fold.h"
#include "imaging/anonymize/url_hosts.h"

namespace narthex::anonymize {

namespace functions {
namespace {

// Offsets of the code points of `text`, and its end.
std::vector<size_t> CodePoints(absl::string_view text) {
  std::vector<size_t> offsets;
  for (absl::string_view rest = text; !rest.empty(); TakeCodePoint(&rest))
    offsets.push_back(text.size() - rest.size());
  offsets.push_back(text.size());
  return offsets;
}

absl::StatusOr<std::shared_ptr<const RE2>> RegexOf(Evaluator& evaluator, const Expression& call,
                                                   size_t argument) {
  const Expression& expression = call.arguments[argument];
  if (expression.regex != nullptr) return expression.regex;
  NX_ASSIGN_OR_RETURN(const std::string pattern, evaluator.RequiredText(call, argument));
  absl::StatusOr<std::shared_ptr<const RE2>> regex = CompileRegex(pattern);
  if (!regex.ok()) return evaluator.Fail(expression.position, "the pattern cannot be used");
  return regex;
}

// Java's MessageFormat, as far as scripts use it: {n}, 'quoted', ''.
absl::StatusOr<std::string> FormatMessage(Evaluator& evaluator, const Expression& call,
                                          absl::string_view format) {
  std::string out;
  bool quoted = false;
  for (size_t i = 0; i < format.size(); ++i) {
    const char c = format[i];
    if (c == '\'') {
      if (i + 1 < format.size() && format[i + 1] == '\'') {
        out.push_back(format[i++]);
      } else {
        quoted = !quoted;
      }
      continue;
    }
    if (quoted || c != '{') {
      out.push_back(c);
      continue;
    }
    const size_t end = format.find('}', i);
    size_t index;
    if (end == absl::string_view::npos || !absl::SimpleAtoi(format.substr(i + 1, end - i - 1), &index)) {
      return evaluator.Fail(call.position, "format: only {0}, {1}, ... are possible between braces");
    }
    i = end;
    if (index + 1 >= call.arguments.size()) {
      absl::StrAppend(&out, "{", index, "}");  // as Java does without that argument
      continue;
    }
    NX_ASSIGN_OR_RETURN(const std::optional<std::string> text, evaluator.Text(call, index + 1));
    out += text.value_or("null");
  }
  return out;
}

absl::StatusOr<bool> IsTrue(Evaluator& evaluator, const Expression& call, size_t argument) {
  NX_ASSIGN_OR_RETURN(const std::optional<std::string> text, evaluator.Text(call, argument));
  return text.has_value() && *text == "true";
}

}  // namespace

Return Concatenate(Evaluator& evaluator, const Expression& call) {
  std::string joined;
  for (size_t i = 0; i < call.arguments.size(); ++i) {
    NX_ASSIGN_OR_RETURN(const std::string text, evaluator.RequiredText(call, i));
    joined += text;
    if (joined.size() > evaluator.context().max_output_bytes)
      return evaluator.Fail(call.position, "the text grows too long");
  }
  return Value(std::move(joined));
}

Return Format(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::string format, evaluator.RequiredText(call, 0));
  if (call.arguments.size() == 1) return Value(format);
  NX_ASSIGN_OR_RETURN(std::string text, FormatMessage(evaluator, call, format));
  if (text.size() > evaluator.context().max_output_bytes)
    return evaluator.Fail(call.position, "the text grows too long");
  return Value(std::move(text));
}

Return Lowercase(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::string text, evaluator.RequiredText(call, 0));
  return Value(LowerUtf8(text));
}

Return Uppercase(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::string text, evaluator.RequiredText(call, 0));
  return Value(UpperUtf8(text));
}

Return Substring(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::string text, evaluator.RequiredText(call, 0));
  NX_ASSIGN_OR_RETURN(const int64_t begin, evaluator.Integer(call, 1));
  NX_ASSIGN_OR_RETURN(const int64_t end, evaluator.Integer(call, 2));
  const std::vector<size_t> points = CodePoints(text);
  const auto count = static_cast<int64_t>(points.size()) - 1;
  if (begin < 0 || end < begin || end > count) {
    return evaluator.Fail(call.position,
                          absl::StrCat("substring: ", begin, " to ", end, " is out of the value, which has ",
                                       count, " characters"));
  }
  return Value(text.substr(points[begin], points[end] - points[begin]));
}

Return Replace(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::string text, evaluator.RequiredText(call, 0));
  NX_ASSIGN_OR_RETURN(const std::string target, evaluator.RequiredText(call, 1));
  NX_ASSIGN_OR_RETURN(const std::string replacement, evaluator.RequiredText(call, 2));
  if (target.empty()) return evaluator.Fail(call.position, "replace: what is to be replaced is empty");
  if (text.size() / target.size() * replacement.size() > evaluator.context().max_output_bytes) {
    return evaluator.Fail(call.position, "the text grows too long");
  }
  return Value(absl::StrReplaceAll(text, {{target, replacement}}));
}

Return Match(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::optional<std::string> text, evaluator.Text(call, 0));
  if (!text.has_value()) return Value();
  NX_ASSIGN_OR_RETURN(const std::shared_ptr<const RE2> regex, RegexOf(evaluator, call, 1));
  NX_ASSIGN_OR_RETURN(const int64_t group, evaluator.Integer(call, 2));
  const int groups = regex->NumberOfCapturingGroups();
  if (group < 0 || group > groups) {
    return evaluator.Fail(call.position,
                          absl::StrCat("match: group ", group, " does not exist, the pattern has ", groups));
  }
  std::vector<re2::StringPiece> found(static_cast<size_t>(group) + 1);
  if (!regex->Match(*text, 0, text->size(), RE2::ANCHOR_BOTH, found.data(), static_cast<int>(found.size())))
    return Value();
  const re2::StringPiece& piece = found[static_cast<size_t>(group)];
  if (piece.data() == nullptr) return Value();
  return Value(std::string(piece.data(), piece.size()));
}

Return IsMatch(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::optional<std::string> text, evaluator.Text(call, 0));
  if (!text.has_value()) return Value::Bool(false);
  NX_ASSIGN_OR_RETURN(const std::shared_ptr<const RE2> regex, RegexOf(evaluator, call, 1));
  return Value::Bool(RE2::FullMatch(*text, *regex));
}

Return NormalizeString(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::optional<std::string> text, evaluator.Text(call, 0));
  if (!text.has_value()) return Value();
  std::string out;
  for (absl::string_view rest = *text; !rest.empty();) {
    const uint32_t c = TakeCodePoint(&rest);
    out.push_back(c < 0x80 ? static_cast<char>(c) : '_');
  }
  return Value(std::move(out));
}

Return UrlEncode(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::string text, evaluator.RequiredText(call, 0));
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isalnum(byte) || c == '.' || c == '*' || c == '_' || c == '-') {
      out.push_back(c);
    } else if (c == ' ') {
      out.push_back('+');
    } else {
      constexpr absl::string_view kDigits = "0123456789ABCDEF";
      out.append({'%', kDigits[byte >> 4], kDigits[byte & 15]});
    }
  }
  return Value(std::move(out));
}

// XNAT compares what is written, not what an attribute holds; the checker warns.
Return Equals(Evaluator& evaluator, const Expression& call) {
  std::string sides[2];
  for (size_t i = 0; i < 2; ++i) {
    if (call.arguments[i].kind == Expression::Kind::kPath) {
      sides[i] = call.arguments[i].path.text;
    } else {
      NX_ASSIGN_OR_RETURN(sides[i], evaluator.RequiredText(call, i));
    }
  }
  return Value::Bool(sides[0] == sides[1]);
}

Return And(Evaluator& evaluator, const Expression& call) {
  for (size_t i = 0; i < call.arguments.size(); ++i) {
    NX_ASSIGN_OR_RETURN(const bool truth, IsTrue(evaluator, call, i));
    if (!truth) return Value::Bool(false);
  }
  return Value::Bool(true);
}

Return Or(Evaluator& evaluator, const Expression& call) {
  for (size_t i = 0; i < call.arguments.size(); ++i) {
    NX_ASSIGN_OR_RETURN(const bool truth, IsTrue(evaluator, call, i));
    if (truth) return Value::Bool(true);
  }
  return Value::Bool(false);
}

Return True(Evaluator&, const Expression&) { return Value::Bool(true); }
Return False(Evaluator&, const Expression&) { return Value::Bool(false); }

Return Lookup(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::string type, evaluator.RequiredText(call, 0));
  NX_ASSIGN_OR_RETURN(const std::string key, evaluator.RequiredText(call, 1));
  if (const auto& table = evaluator.context().lookup; table != nullptr) {
    if (const auto found = table->find(absl::StrCat(type, "/", key)); found != table->end())
      return Value(found->second);
  }
  return evaluator.Fail(call.position,
                        "lookup: the table has no entry for this value; add it, or leave the object out");
}

Return GetUrl(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::string url, evaluator.RequiredText(call, 0));
  if (!IsAllowedUrl(url, evaluator.url_hosts()) || evaluator.context().fetch_url == nullptr) {
    return evaluator.Fail(call.position, "getURL: the administrator has not allowed this host");
  }
  absl::StatusOr<std::string> body = evaluator.context().fetch_url(url);
  if (!body.ok()) return evaluator.Fail(call.position, absl::StrCat("getURL: ", body.status().message()));
  return Value(std::string(absl::StripAsciiWhitespace(*body)));
}

}  // namespace functions
}  // namespace narthex::anonymize
