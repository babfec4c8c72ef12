#include "imaging/identify/rules.h"

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/limits_routing.h"
#include "imaging/dicom/dictionary.h"
#include "imaging/identify/header_value.h"

namespace narthex::identify {
namespace {

constexpr size_t kErrorsMax = 10;  // fixed: what one message tells
constexpr int kGroupMax = 31;      // fixed: the size of an array

re2::StringPiece Piece(absl::string_view text) { return re2::StringPiece(text.data(), text.size()); }

// `text` cut to `bytes`, not within a UTF-8 character.
absl::string_view CutText(absl::string_view text, size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xc0) == 0x80) --bytes;
  return text.substr(0, bytes);
}

// One line on its way to a Rule. Columns count bytes of the line, from 1.
class LineParser {
 public:
  LineParser(absl::string_view line, Origin origin) : line_(line), origin_(origin) {}

  // False: error() says why.
  bool Parse(Rule* rule);
  const RegexError& error() const { return error_; }

 private:
  bool FailAt(absl::string_view where, absl::string_view message) {
    error_ = {static_cast<size_t>(where.data() - line_.data()), std::string(message)};
    return false;
  }
  bool Fail(absl::string_view where, RegexError inner) {
    error_ = {static_cast<size_t>(where.data() - line_.data()) + inner.offset, std::move(inner.message)};
    return false;
  }
  bool ParseSource(absl::string_view* text, Rule* rule);
  bool ParseReplacement(absl::string_view target, absl::string_view replacement, Rule* rule);

  absl::string_view line_;
  const Origin origin_;
  RegexError error_;
};

bool LineParser::ParseSource(absl::string_view* text, Rule* rule) {
  const size_t end = absl::StartsWith(*text, "(") ? text->find(')') : text->find(':');
  if (end == absl::string_view::npos) {
    return FailAt(*text,
                  "a rule is (gggg,eeee):regex[:group][ t:target r:replacement], or begins with a keyword");
  }
  const absl::string_view name = text->substr(0, text->front() == '(' ? end + 1 : end);
  absl::StatusOr<ValueSource> source = ValueSource::Parse(name);
  if (!source.ok()) {
    return FailAt(*text, absl::StrCat("'", name,
                                      "' is no (gggg,eeee), DICOM keyword, CalledAETitle or CallingAETitle"));
  }
  rule->source = *std::move(source);
  text->remove_prefix(name.size());
  if (!absl::ConsumePrefix(text, ":")) {
    return FailAt(*text, absl::StrCat("':' and a regular expression must follow ", name));
  }
  return true;
}

bool LineParser::ParseReplacement(absl::string_view target, absl::string_view replacement, Rule* rule) {
  RegexError inner;
  rule->target = CompileJavaRegex(target, {.origin = origin_}, &inner);
  if (rule->target == nullptr) return Fail(target, inner);
  if (const size_t max_bytes = limits::kRuleReplacementMaxBytes.For(origin_); replacement.size() > max_bytes)
    return FailAt(replacement, absl::StrCat("the replacement is longer than ", max_bytes, " bytes"));
  if (!TranslateReplacement(replacement, rule->target->NumberOfCapturingGroups(), &rule->replacement,
                            &inner)) {
    return Fail(replacement, inner);
  }
  return true;
}

bool LineParser::Parse(Rule* rule) {
  absl::string_view text = line_;
  if (!ParseSource(&text, rule)) return false;
  // XNAT's own expression for what follows the tag, so that it is taken apart in the same way.
  static const RE2* const kRest = new RE2("(.+?)(?::(\\d+))?(?: t:(.*) r:(.*))?");
  std::array<re2::StringPiece, 5> part;
  if (!kRest->Match(Piece(text), 0, text.size(), RE2::ANCHOR_BOTH, part.data(), part.size())) {
    return FailAt(text, "a regular expression must follow ':'");
  }
  const auto view = [&](int i) { return absl::string_view(part[i].data(), part[i].size()); };
  RegexError inner;
  rule->regex = CompileJavaRegex(view(1), {.origin = origin_}, &inner);
  if (rule->regex == nullptr) return Fail(view(1), inner);
  if (part[2].data() != nullptr && (!absl::SimpleAtoi(view(2), &rule->group) || rule->group > kGroupMax)) {
    return FailAt(view(2), absl::StrCat("a group number is 0 to ", kGroupMax));
  }
  const int groups = rule->regex->NumberOfCapturingGroups();
  if (rule->group > groups) {
    return FailAt(part[2].data() != nullptr ? view(2) : view(1),
                  absl::StrCat("the rule takes group ", rule->group, ", and the expression has ", groups,
                               "; append :0 to take all that it matches"));
  }
  return part[3].data() == nullptr || ParseReplacement(view(3), view(4), rule);
}

}  // namespace

absl::StatusOr<ValueSource> ValueSource::Parse(absl::string_view text) {
  ValueSource source;
  if (absl::EqualsIgnoreCase(text, "CalledAETitle")) {
    source.kind_ = Kind::kCalledAeTitle;
    source.name_ = "CalledAETitle";
    return source;
  }
  if (absl::EqualsIgnoreCase(text, "CallingAETitle")) {
    source.kind_ = Kind::kCallingAeTitle;
    source.name_ = "CallingAETitle";
    return source;
  }
  absl::StatusOr<dicom::Tag> tag = dicom::ParseTag(text);
  if (!tag.ok()) return tag.status();
  source.tag_ = *tag;
  source.name_ = dicom::TagName(*tag);
  const dicom::Vr vr = dicom::DictionaryVr(*tag);
  source.multi_valued_ =
      vr != dicom::Vr::kLT && vr != dicom::Vr::kST && vr != dicom::Vr::kUT && vr != dicom::Vr::kUR;
  return source;
}

absl::string_view ValueSource::Value(const dicom::HeaderFacts& facts, const AeTitles& ae,
                                     std::string& scratch) const {
  if (kind_ == Kind::kCalledAeTitle) return absl::StripAsciiWhitespace(ae.called);
  if (kind_ == Kind::kCallingAeTitle) return absl::StripAsciiWhitespace(ae.calling);
  const absl::string_view value = HeaderValue(facts, tag_, scratch);
  return multi_valued_ ? FirstValue(value) : value;
}

std::optional<std::string> Rule::Apply(absl::string_view value) const {
  std::array<re2::StringPiece, kGroupMax + 1> groups;
  if (value.empty() ||
      !regex->Match(Piece(value), 0, value.size(), RE2::ANCHOR_BOTH, groups.data(), group + 1)) {
    return std::nullopt;
  }
  const absl::string_view taken(groups[group].data(), groups[group].size());
  std::string result;
  if (target == nullptr) {
    result = std::string(CutText(taken, limits::kLabelMaxBytes));
  } else {
    result = std::string(CutText(taken, limits::kRuleReplacedMaxBytes));
    RE2::GlobalReplace(&result, *target, replacement);
    result.resize(CutText(result, limits::kLabelMaxBytes).size());
  }
  if (result.empty()) return std::nullopt;
  return result;
}

absl::StatusOr<RuleSet> RuleSet::Parse(absl::string_view text, absl::string_view name, Origin origin) {
  const size_t max_bytes = limits::kRulesMaxBytes.For(origin);
  const size_t rules_max = limits::kRulesMax.For(origin);
  const auto too_large = [&] {
    return InvalidArgument("INVALID_SCRIPT", absl::StrCat("the ", name, " exceed ", max_bytes, " bytes or ",
                                                          rules_max, " rules; shorten them"));
  };
  if (text.size() > max_bytes) return too_large();
  RuleSet set;
  std::vector<std::string> errors;
  ErrorMetadata metadata;
  int number = 0;
  for (absl::string_view raw : absl::StrSplit(text, '\n')) {
    ++number;
    const absl::string_view line = absl::StripAsciiWhitespace(raw);
    if (line.empty() || line[0] == '#') continue;
    if (set.rules_.size() == rules_max) return too_large();
    LineParser parser(line, origin);
    Rule rule;
    rule.line = number;
    if (parser.Parse(&rule)) {
      set.rules_.push_back(std::move(rule));
      continue;
    }
    const size_t column = static_cast<size_t>(line.data() - raw.data()) + parser.error().offset + 1;
    if (errors.empty()) {
      metadata = {
          {"rules", std::string(name)}, {"line", absl::StrCat(number)}, {"column", absl::StrCat(column)}};
    }
    errors.push_back(absl::StrCat("line ", number, ", column ", column, ": ", parser.error().message));
    if (errors.size() == kErrorsMax) break;
  }
  if (!errors.empty()) {
    return InvalidArgument("INVALID_SCRIPT", absl::StrCat(name, ": ", absl::StrJoin(errors, "; ")), metadata);
  }
  return set;
}

}  // namespace narthex::identify
