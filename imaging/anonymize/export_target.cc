#include "imaging/anonymize/export_target.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "base/limits.h"

namespace narthex::anonymize {
namespace {

// What the headers, the routing or people say of a session, in lower case.
bool IsTaken(absl::string_view first) {
  static constexpr absl::string_view kTaken[] = {
      "assessors", "date",  "id",      "label",    "modality", "project",    "projects", "resources",
      "scanner",   "scans", "sharing", "study_id", "subject",  "subject_id", "time",     "uid"};
  return absl::StartsWith(first, "dcm") ||
         std::find(std::begin(kTaken), std::end(kTaken), first) != std::end(kTaken);
}

// "xnat:note" -> "note".
absl::string_view WithoutPrefix(absl::string_view step) { return step.substr(step.rfind(':') + 1); }

// The name in "field[name=coil]" or "field[@name='coil']"; else "".
std::string NameInBrackets(absl::string_view step) {
  const size_t open = step.find('[');
  if (open == absl::string_view::npos || !absl::EndsWith(step, "]")) return "";
  const absl::string_view inside = step.substr(open + 1, step.size() - open - 2);
  const size_t equals = inside.find('=');
  if (equals == absl::string_view::npos) return "";
  absl::string_view key = absl::StripAsciiWhitespace(inside.substr(0, equals));
  absl::ConsumePrefix(&key, "@");
  if (WithoutPrefix(key) != "name") return "";
  absl::string_view value = absl::StripAsciiWhitespace(inside.substr(equals + 1));
  if (value.size() >= 2 && (value.front() == '\'' || value.front() == '"') && value.back() == value.front())
    value = value.substr(1, value.size() - 2);
  return std::string(value);
}

std::optional<std::string> CustomField(absl::string_view name) {
  if (name.empty() || name.size() > limits::kLabelMaxBytes) return std::nullopt;
  std::string target = kExportFieldPrefix;
  for (const char c : name)
    target.push_back(absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' ? c : '_');
  return target;
}

}  // namespace

std::optional<std::string> ExportTargetOf(absl::string_view path) {
  std::vector<absl::string_view> steps =
      absl::StrSplit(absl::StripAsciiWhitespace(path), '/', absl::SkipEmpty());
  // The type, such as xnat:mrSessionData.
  if (!steps.empty() && absl::StrContains(steps.front(), ':') && absl::EndsWith(steps.front(), "Data"))
    steps.erase(steps.begin());
  if (steps.empty()) return std::nullopt;
  for (absl::string_view& step : steps) {
    if (!absl::StrContains(step, '[')) step = WithoutPrefix(step);
  }
  const std::string first = absl::AsciiStrToLower(steps.front());
  if (first == "fields") {
    if (steps.size() == 1) return std::nullopt;
    if (absl::StrContains(steps[1], '[')) return CustomField(NameInBrackets(steps[1]));
    return CustomField(absl::StrJoin(steps.begin() + 1, steps.end(), "_"));
  }
  if (IsTaken(first)) return std::nullopt;
  if (steps.size() == 1) {
    for (const char* known : {kExportNote, kExportAcquisitionSite, kExportOperator, kExportSessionType}) {
      if (first == known) return std::string(known);
    }
  }
  return CustomField(absl::StrJoin(steps, "_"));
}

}  // namespace narthex::anonymize
