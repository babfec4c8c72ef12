#include "imaging/identify/java_regex.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

#include "base/limits_routing.h"

namespace narthex::identify {
namespace {

constexpr absl::string_view kNotTerminators = "[^\\n\\r\\x{85}\\x{2028}\\x{2029}]";

// \p{Alpha} and its like: POSIX classes, ASCII only, in both languages.
constexpr std::pair<absl::string_view, absl::string_view> kPosixClasses[] = {
    {"Lower", "lower"}, {"Upper", "upper"},   {"ASCII", "ascii"}, {"Alpha", "alpha"}, {"Digit", "digit"},
    {"Alnum", "alnum"}, {"Punct", "punct"},   {"Graph", "graph"}, {"Print", "print"}, {"Blank", "blank"},
    {"Cntrl", "cntrl"}, {"XDigit", "xdigit"}, {"Space", "space"}};

class Translator {
 public:
  Translator(absl::string_view java, RegexError* error) : java_(java), error_(error) {
    // With (?s) anywhere, '.' is left to RE2's own flag.
    for (size_t at = java.find("(?"); at != absl::string_view::npos; at = java.find("(?", at + 2)) {
      for (size_t i = at + 2; i < java.size() && absl::ascii_islower(static_cast<unsigned char>(java[i]));
           ++i) {
        if (java[i] == 's') dotall_ = true;
      }
    }
  }

  bool Run() {
    while (at_ < java_.size()) {
      if (!(in_class_ ? InClass() : OutsideClass())) return false;
    }
    return in_class_ ? Fail(class_begin_, "this '[' is never closed") : true;
  }
  std::string& re2() { return re2_; }

 private:
  bool Fail(size_t offset, absl::string_view message) {
    error_->offset = offset;
    error_->message = std::string(message);
    return false;
  }
  absl::string_view Rest() const { return java_.substr(at_); }
  bool Copy(size_t bytes) {
    re2_.append(java_.data() + at_, bytes);
    at_ += bytes;
    return true;
  }
  bool Replace(size_t bytes, absl::string_view with) {
    absl::StrAppend(&re2_, with);
    at_ += bytes;
    return true;
  }

  bool OutsideClass();
  bool InClass();
  bool Group();
  bool Escape();
  bool Property();
  bool Hexadecimal(size_t prefix, size_t digits);
  bool Octal();
  bool Shorthand(char letter);

  absl::string_view java_;
  RegexError* error_;
  std::string re2_;
  size_t at_ = 0;
  bool in_class_ = false;
  size_t class_begin_ = 0;
  bool dotall_ = false;
};

bool Translator::OutsideClass() {
  switch (java_[at_]) {
    case '\\':
      return Escape();
    case '[':
      in_class_ = true;
      class_begin_ = at_;
      Copy(1);
      if (absl::StartsWith(Rest(), "^")) Copy(1);
      if (absl::StartsWith(Rest(), "]")) Replace(1, "\\]");
      return true;
    case '(':
      return Group();
    case '.':
      return dotall_ ? Copy(1) : Replace(1, kNotTerminators);
    default:
      return Copy(1);
  }
}

bool Translator::InClass() {
  const char c = java_[at_];
  if (c == '\\') return Escape();
  if (c == '[')
    return Fail(at_, "a character class inside a character class is not supported; write its characters out");
  if (absl::StartsWith(Rest(), "&&"))
    return Fail(at_, "class intersection (&&) is not supported; write the characters out");
  if (c == ']') in_class_ = false;
  return Copy(1);
}

bool Translator::Group() {
  const absl::string_view rest = Rest();
  for (absl::string_view prefix : {"(?=", "(?!", "(?<=", "(?<!"}) {
    if (absl::StartsWith(rest, prefix)) {
      return Fail(
          at_, absl::StrCat("look-around ", prefix, "...) is not supported: expressions run in linear time"));
    }
  }
  if (absl::StartsWith(rest, "(?>")) return Fail(at_, "atomic groups (?>...) are not supported; use (?:...)");
  if (absl::StartsWith(rest, "(?<")) return Replace(3, "(?P<");
  return Copy(1);
}

bool Translator::Shorthand(char letter) {
  // {outside a class, inside one}
  switch (letter) {
    case 's':
      return Replace(2, in_class_ ? "\\s\\x0b" : "[\\s\\x0b]");
    case 'S':
      return in_class_ ? Copy(2) : Replace(2, "[^\\s\\x0b]");
    case 'v':
      return Replace(2, in_class_ ? "\\n\\x0b\\f\\r\\x{85}\\x{2028}\\x{2029}"
                                  : "[\\n\\x0b\\f\\r\\x{85}\\x{2028}\\x{2029}]");
    case 'h':
      return Replace(2, in_class_ ? " \\t\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{202f}\\x{205f}\\x{3000}"
                                  : "[ \\t\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{202f}\\x{205f}\\x{3000}]");
    default:
      return Replace(2, "\\x{1b}");  // 'e'
  }
}

bool Translator::Escape() {
  if (at_ + 1 >= java_.size()) return Fail(at_, "nothing follows this '\\'");
  const char c = java_[at_ + 1];
  if (c >= '1' && c <= '9')
    return Fail(at_, "back-references are not supported: expressions run in linear time");
  switch (c) {
    case 'Q': {
      const size_t end = java_.find("\\E", at_);
      const absl::string_view literal =
          java_.substr(at_ + 2, end == absl::string_view::npos ? end : end - at_ - 2);
      return Replace(literal.size() + (end == absl::string_view::npos ? 2 : 4),
                     RE2::QuoteMeta(re2::StringPiece(literal.data(), literal.size())));
    }
    case 'k':
      return Fail(at_, "back-references are not supported: expressions run in linear time");
    case 'p':
    case 'P':
      return Property();
    case 'x':
      if (absl::StartsWith(java_.substr(at_ + 2), "{")) return Copy(2);
      return Hexadecimal(2, 2);
    case 'u':
      return Hexadecimal(2, 4);
    case '0':
      return Octal();
    case 's':
    case 'S':
    case 'v':
    case 'h':
    case 'e':
      return Shorthand(c);
    case 'Z':
      if (in_class_) break;
      return Replace(2, "(?:\\r\\n|[\\n\\r\\x{85}\\x{2028}\\x{2029}])?\\z");
    case 'R':
      if (in_class_) break;
      return Replace(2, "(?:\\r\\n|[\\n\\x0b\\f\\r\\x{85}\\x{2028}\\x{2029}])");
    default:
      break;
  }
  // Letters that RE2 knows otherwise (\C: one byte) or not at all.
  if (absl::ascii_isalpha(static_cast<unsigned char>(c)) && !absl::StrContains("dDwWbBAztnrfa", c)) {
    return Fail(at_, absl::StrCat("\\", absl::string_view(&c, 1), " is not supported here"));
  }
  // A character beyond ASCII needs no '\'; RE2 would refuse it.
  if (static_cast<unsigned char>(c) >= 0x80) return Replace(1, "");
  return Copy(2);
}

bool Translator::Property() {
  const char letter = java_[at_ + 1];
  const size_t end = java_.find('}', at_);
  if (at_ + 2 >= java_.size() || java_[at_ + 2] != '{' || end == absl::string_view::npos) {
    return at_ + 2 < java_.size() && java_[at_ + 2] != '{' ? Copy(3)
                                                           : Fail(at_, "this property is never closed");
  }
  absl::string_view name = java_.substr(at_ + 3, end - at_ - 3);
  const size_t bytes = end + 1 - at_;
  for (const auto& [java_name, posix] : kPosixClasses) {
    if (name != java_name) continue;
    const std::string inner = absl::StrCat("[:", letter == 'P' ? "^" : "", posix, ":]");
    return Replace(bytes, in_class_ ? inner : absl::StrCat("[", inner, "]"));
  }
  if (absl::ConsumePrefix(&name, "Is"))
    return Replace(bytes, absl::StrCat("\\", std::string(1, letter), "{", name, "}"));
  return Copy(bytes);
}

bool Translator::Hexadecimal(size_t prefix, size_t digits) {
  const absl::string_view hex = java_.substr(at_ + prefix, digits);
  const bool good = hex.size() == digits && std::all_of(hex.begin(), hex.end(), [](char c) {
                      return absl::ascii_isxdigit(static_cast<unsigned char>(c));
                    });
  if (!good) return Fail(at_, absl::StrFormat("%d hexadecimal digits must follow", digits));
  return Replace(prefix + digits, absl::StrCat("\\x{", hex, "}"));
}

bool Translator::Octal() {
  int value = 0;
  size_t end = at_ + 2;
  while (end < java_.size() && end < at_ + 5 && java_[end] >= '0' && java_[end] <= '7' && value * 8 <= 0377) {
    value = value * 8 + (java_[end++] - '0');
  }
  if (end == at_ + 2) return Fail(at_, "octal digits must follow \\0");
  return Replace(end - at_, absl::StrFormat("\\x{%x}", value));
}

}  // namespace

std::unique_ptr<const RE2> CompileJavaRegex(absl::string_view java, RegexOptions options, RegexError* error) {
  const size_t max_bytes = limits::kRegexMaxBytes.For(options.origin);
  if (java.size() > max_bytes) {
    *error = {max_bytes, absl::StrCat("an expression may have ", max_bytes, " bytes")};
    return nullptr;
  }
  Translator translator(java, error);
  if (!translator.Run()) return nullptr;
  RE2::Options re2_options;
  re2_options.set_log_errors(false);
  re2_options.set_case_sensitive(!options.case_insensitive);
  re2_options.set_max_mem(limits::kRegexMemoryBytes);
  auto regex = std::make_unique<const RE2>(translator.re2(), re2_options);
  if (regex->ok()) return regex;
  const size_t offset = regex->error_arg().empty() ? 0 : java.find(regex->error_arg());
  error->offset = offset == absl::string_view::npos ? 0 : offset;
  error->message = regex->error();
  return nullptr;
}

bool TranslateReplacement(absl::string_view java, int groups, std::string* re2, RegexError* error) {
  const auto fail = [&](size_t offset, std::string message) {
    *error = {offset, std::move(message)};
    return false;
  };
  re2->clear();
  for (size_t i = 0; i < java.size(); ++i) {
    if (java[i] == '\\' || java[i] == '$') {
      if (i + 1 >= java.size())
        return fail(i, absl::StrCat("nothing follows this '", java.substr(i, 1), "'"));
      const char next = java[i + 1];
      if (java[i] == '$') {
        if (next < '0' || next > '9')
          return fail(i, "a group number must follow '$'; write \\$ for the character");
        if (next - '0' > groups)
          return fail(i, absl::StrFormat("there is no group %c; there are %d", next, groups));
        // Java reads a second digit if there is such a group; RE2 has one digit only.
        if (i + 2 < java.size() && absl::ascii_isdigit(static_cast<unsigned char>(java[i + 2])) &&
            (next - '0') * 10 + (java[i + 2] - '0') <= groups) {
          return fail(i, "groups beyond 9 are not supported in replacements");
        }
        absl::StrAppend(re2, "\\", std::string(1, next));
      } else {
        absl::StrAppend(re2, next == '\\' ? "\\\\" : std::string(1, next));
      }
      ++i;
      continue;
    }
    *re2 += java[i];
  }
  return true;
}

}  // namespace narthex::identify
