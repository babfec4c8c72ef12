#include "imaging/identify/series_filter.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "base/error.h"
#include "base/limits_routing.h"
#include "imaging/dicom/dictionary.h"
#include "imaging/dicom/header_facts.h"
#include "imaging/identify/filter_expression.h"
#include "imaging/identify/header_value.h"
#include "imaging/identify/java_regex.h"

namespace narthex::identify {
namespace {

constexpr size_t kErrorsMax = 10;  // fixed: what one message tells
constexpr absl::string_view kExclude = "exclude";
constexpr absl::string_view kDefault = "default";

// One line of a deny-list or allow-list.
struct Pattern {
  enum class Kind { kRegex, kExists, kAbsent };
  int line = 0;
  Kind kind = Kind::kRegex;
  dicom::Tag tag;
  std::unique_ptr<const RE2> regex;
};

// One line of a modality map.
struct Entry {
  int line = 0;
  std::string name;
  std::unique_ptr<const FilterExpression> expression;
};

bool IsEntryName(absl::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
  });
}

}  // namespace

struct SeriesFilter::Rep {
  FilterMode mode = FilterMode::kDenyList;
  std::vector<Pattern> patterns;
  std::vector<Entry> entries;  // without exclude and default
  Entry exclude;               // expression is null if there is none
  std::string default_modality;
  int default_line = 0;
  std::vector<dicom::Tag> wanted;

  FilterVerdict EvaluateList(const dicom::HeaderFacts& facts) const;
  FilterVerdict EvaluateMap(const dicom::HeaderFacts& facts) const;
};

namespace {

// Reads the text line by line and keeps up to kErrorsMax complaints.
class FilterParser {
 public:
  FilterParser(SeriesFilter::Rep* rep, Origin origin) : rep_(rep), origin_(origin) {}

  // False: the text has too many lines.
  bool Run(absl::string_view text) {
    for (absl::string_view raw : absl::StrSplit(text, '\n')) {
      ++line_;
      raw_ = raw;
      const absl::string_view line = absl::StripAsciiWhitespace(raw);
      if (line.empty() || line[0] == '#') continue;
      if (++lines_ > limits::kSeriesFilterLinesMax.For(origin_)) return false;
      rep_->mode == FilterMode::kModalityMap ? ReadEntry(line) : ReadPattern(line);
      if (errors_.size() == kErrorsMax) break;
    }
    return true;
  }

  absl::Status status() const {
    if (errors_.empty()) return absl::OkStatus();
    return InvalidArgument("INVALID_SCRIPT",
                           absl::StrCat("series import filter: ", absl::StrJoin(errors_, "; ")), metadata_);
  }

 private:
  void Complain(absl::string_view where, size_t offset, absl::string_view message) {
    const size_t column = static_cast<size_t>(where.data() - raw_.data()) + offset + 1;
    if (errors_.empty()) metadata_ = {{"line", absl::StrCat(line_)}, {"column", absl::StrCat(column)}};
    errors_.push_back(absl::StrCat("line ", line_, ", column ", column, ": ", message));
  }

  void ReadPattern(absl::string_view line) {
    if (line.front() == '[' && line.back() == ']') {
      const absl::string_view name = absl::StripAsciiWhitespace(line.substr(1, line.size() - 2));
      const absl::StatusOr<dicom::Tag> tag = dicom::ParseTag(name);
      if (!tag.ok()) {
        return Complain(
            line, 1,
            absl::StrCat("'", name,
                         "' is no DICOM keyword and no (gggg,eeee); a line in [ ] begins a section, "
                         "so write a character class that fills a line as (?:[...])"));
      }
      section_ = *tag;
      return;
    }
    Pattern pattern{.line = line_, .tag = section_};
    if (line == "EXISTS") {
      pattern.kind = Pattern::Kind::kExists;
    } else if (line == "!EXISTS") {
      pattern.kind = Pattern::Kind::kAbsent;
    } else {
      RegexError error;
      pattern.regex = CompileJavaRegex(line, {.case_insensitive = true, .origin = origin_}, &error);
      if (pattern.regex == nullptr) return Complain(line, error.offset, error.message);
    }
    rep_->wanted.push_back(section_);
    rep_->patterns.push_back(std::move(pattern));
  }

  void ReadEntry(absl::string_view line) {
    const size_t colon = line.find(':');
    const absl::string_view name = absl::StripAsciiWhitespace(line.substr(0, colon));
    if (colon == absl::string_view::npos || !IsEntryName(name)) {
      return Complain(line, 0, "a line of a modality map is NAME: expression");
    }
    const absl::string_view text = absl::StripAsciiWhitespace(line.substr(colon + 1));
    if (!names_.insert(std::string(name)).second)
      return Complain(line, 0, absl::StrCat("a second '", name, "'"));
    if (name == kDefault) {
      if (!IsEntryName(text)) return Complain(line.substr(colon), 1, "a modality must follow 'default:'");
      rep_->default_modality = std::string(text);
      rep_->default_line = line_;
      return;
    }
    RegexError error;
    Entry entry{.line = line_,
                .name = std::string(name),
                .expression = FilterExpression::Parse(text, &error, origin_)};
    if (entry.expression == nullptr)
      return Complain(text.empty() ? line.substr(colon) : text, error.offset, error.message);
    rep_->wanted.insert(rep_->wanted.end(), entry.expression->wanted().begin(),
                        entry.expression->wanted().end());
    if (name == kExclude) {
      rep_->exclude = std::move(entry);
    } else {
      rep_->entries.push_back(std::move(entry));
    }
  }

  SeriesFilter::Rep* rep_;
  const Origin origin_;
  absl::string_view raw_;
  int line_ = 0;
  size_t lines_ = 0;
  dicom::Tag section_ = dicom::tags::kSeriesDescription;
  std::set<std::string> names_;
  std::vector<std::string> errors_;
  ErrorMetadata metadata_;
};

bool Matches(const Pattern& pattern, const dicom::HeaderFacts& facts) {
  switch (pattern.kind) {
    case Pattern::Kind::kExists:
      return facts.Has(pattern.tag);
    case Pattern::Kind::kAbsent:
      return !facts.Has(pattern.tag);
    case Pattern::Kind::kRegex:
      break;
  }
  std::string scratch;
  const absl::string_view value = HeaderValue(facts, pattern.tag, scratch);
  // An attribute that is not there matches nothing; one that is empty matches what matches "".
  if (value.empty() && !facts.Has(pattern.tag)) return false;
  return pattern.regex->Match(re2::StringPiece(value.data(), value.size()), 0, value.size(), RE2::UNANCHORED,
                              nullptr, 0);
}

}  // namespace

absl::string_view FilterModeName(FilterMode mode) {
  switch (mode) {
    case FilterMode::kDenyList:
      return "deny";
    case FilterMode::kAllowList:
      return "allow";
    case FilterMode::kModalityMap:
      return "modality-map";
  }
  return "";
}

absl::StatusOr<FilterMode> ParseFilterMode(absl::string_view name) {
  const auto is = [&](absl::string_view ours, absl::string_view xnats) {
    return absl::EqualsIgnoreCase(name, ours) || absl::EqualsIgnoreCase(name, xnats);
  };
  if (is("deny", "blacklist")) return FilterMode::kDenyList;
  if (is("allow", "whitelist")) return FilterMode::kAllowList;
  if (is("modality-map", "modalityMap")) return FilterMode::kModalityMap;
  return InvalidArgument("INVALID_SCRIPT",
                         "the mode of a series import filter is deny, allow or modality-map",
                         {{"field", "mode"}});
}

FilterVerdict SeriesFilter::Rep::EvaluateList(const dicom::HeaderFacts& facts) const {
  FilterVerdict verdict;
  const bool allow_list = mode == FilterMode::kAllowList;
  const auto hit =
      std::find_if(patterns.begin(), patterns.end(), [&](const Pattern& p) { return Matches(p, facts); });
  verdict.allowed = (hit != patterns.end()) == allow_list;
  if (hit != patterns.end()) {
    verdict.line = hit->line;
    verdict.section = dicom::TagName(hit->tag);
  }
  if (!verdict.allowed) {
    verdict.reason = allow_list ? "no line of the allow-list matches"
                                : absl::StrCat("deny-list line ", verdict.line, " (", verdict.section, ")");
  }
  return verdict;
}

FilterVerdict SeriesFilter::Rep::EvaluateMap(const dicom::HeaderFacts& facts) const {
  FilterVerdict verdict;
  if (exclude.expression != nullptr && exclude.expression->Evaluate(facts)) {
    return {.allowed = false,
            .line = exclude.line,
            .section = exclude.name,
            .reason = absl::StrCat("modality map line ", exclude.line, " (exclude)")};
  }
  for (const Entry& entry : entries) {
    if (entry.expression->Evaluate(facts))
      return {.line = entry.line, .section = entry.name, .modality = entry.name};
  }
  // With nothing but `exclude`, everything else is wanted.
  if (!default_modality.empty() || entries.empty()) {
    return {.line = default_line,
            .section = std::string(default_line > 0 ? kDefault : ""),
            .modality = default_modality};
  }
  return {.allowed = false, .reason = "no expression of the modality map holds"};
}

SeriesFilter::SeriesFilter(std::unique_ptr<const Rep> rep) : rep_(std::move(rep)) {}
SeriesFilter::SeriesFilter(SeriesFilter&&) noexcept = default;
SeriesFilter& SeriesFilter::operator=(SeriesFilter&&) noexcept = default;
SeriesFilter::~SeriesFilter() = default;

absl::StatusOr<SeriesFilter> SeriesFilter::Parse(FilterMode mode, absl::string_view text, Origin origin) {
  auto rep = std::make_unique<Rep>();
  rep->mode = mode;
  FilterParser parser(rep.get(), origin);
  const size_t max_bytes = limits::kSeriesFilterMaxBytes.For(origin);
  if (text.size() > max_bytes || !parser.Run(text)) {
    return InvalidArgument("INVALID_SCRIPT",
                           absl::StrCat("a series import filter may have ", max_bytes, " bytes and ",
                                        limits::kSeriesFilterLinesMax.For(origin), " lines; shorten it"));
  }
  if (absl::Status status = parser.status(); !status.ok()) return status;
  std::sort(rep->wanted.begin(), rep->wanted.end());
  rep->wanted.erase(std::unique(rep->wanted.begin(), rep->wanted.end()), rep->wanted.end());
  return SeriesFilter(std::move(rep));
}

bool SeriesFilter::empty() const {
  return rep_->patterns.empty() && rep_->entries.empty() && rep_->exclude.expression == nullptr &&
         rep_->default_modality.empty();
}
const std::vector<dicom::Tag>& SeriesFilter::wanted() const { return rep_->wanted; }

FilterVerdict SeriesFilter::Evaluate(const dicom::HeaderFacts& facts) const {
  if (empty()) return {};
  return rep_->mode == FilterMode::kModalityMap ? rep_->EvaluateMap(facts) : rep_->EvaluateList(facts);
}

}  // namespace narthex::identify
