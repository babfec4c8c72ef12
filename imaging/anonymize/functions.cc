#include "imaging/anonymize/functions.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"

#include "imaging/anonymize/function_bodies.h"

namespace narthex::anonymize {
namespace {

using Kind = ArgumentKind;

const std::vector<FunctionSpec>& Table() {
  constexpr bool kIn4 = true, kOnly4 = true;
  // Never destroyed: it lives as long as the process.
  static const auto& table = *new std::vector<FunctionSpec>{
      {"alterPixels",
       4,
       4,
       {Kind::kValue},
       false,
       false,
       "alterPixels[\"rectangle\", \"l=,t=,r=,b=\", \"solid\", \"v=\"]",
       functions::AlterPixels},
      {"and", 1, -1, {Kind::kValue}, false, false, "and[condition, ...]", functions::And},
      {"blankValues",
       1,
       -1,
       {Kind::kList},
       false,
       false,
       "blankValues[{value, ...}]",
       functions::BlankValues},
      {"collectValues",
       1,
       -1,
       {Kind::kPath},
       false,
       false,
       "collectValues[path, ...]",
       functions::CollectValues},
      {"concatenate", 1, -1, {Kind::kValue}, false, false, "concatenate[value, ...]", functions::Concatenate},
      {"delete", 1, 1, {Kind::kQuotedPath}, false, false, "delete[\"path\"]", functions::DeletePath},
      {"equals", 2, 2, {Kind::kValue}, false, false, "equals[a, b]", functions::Equals},
      {"false", 0, 0, {Kind::kValue}, false, false, "false[]", functions::False},
      {"format", 1, -1, {Kind::kValue}, kIn4, false, "format[\"{0}\", value, ...]", functions::Format},
      {"getURL", 1, 1, {Kind::kValue}, kIn4, false, "getURL[url]", functions::GetUrl},
      {"hashUID", 1, 1, {Kind::kValue}, kIn4, false, "hashUID[uid]", functions::HashUidFunction},
      {"hashUIDList", 1, -1, {Kind::kPath}, false, false, "hashUIDList[path, ...]", functions::HashUidList},
      {"isPresent", 1, 1, {Kind::kPath}, false, false, "isPresent[path]", functions::IsPresent},
      {"ismatch",
       2,
       2,
       {Kind::kValue, Kind::kRegex},
       false,
       false,
       "ismatch[value, pattern]",
       functions::IsMatch},
      {"lookup", 2, 2, {Kind::kValue}, false, false, "lookup[keytype, value]", functions::Lookup},
      {"lowercase", 1, 1, {Kind::kValue}, kIn4, false, "lowercase[value]", functions::Lowercase},
      {"mapReferencedUIDs",
       2,
       -1,
       {Kind::kValue, Kind::kQuotedPath},
       false,
       false,
       "mapReferencedUIDs[prefix, \"path\", ...]",
       functions::MapReferencedUids},
      {"mapUID", 2, 2, {Kind::kValue}, false, false, "mapUID[uid, prefix]", functions::MapUidFunction},
      {"match",
       3,
       3,
       {Kind::kValue, Kind::kRegex, Kind::kValue},
       kIn4,
       false,
       "match[value, pattern, group]",
       functions::Match},
      {"newUID", 0, 1, {Kind::kValue}, false, false, "newUID[]", functions::NewUid},
      {"normalizeString",
       1,
       1,
       {Kind::kValue},
       false,
       false,
       "normalizeString[value]",
       functions::NormalizeString},
      {"or", 1, -1, {Kind::kValue}, false, false, "or[condition, ...]", functions::Or},
      {"reject", 0, 0, {Kind::kValue}, false, false, "reject[]", functions::Reject},
      {"removeTags", 1, -1, {Kind::kPath}, false, false, "removeTags[path, ...]", functions::RemoveTags},
      {"replace",
       3,
       3,
       {Kind::kValue},
       kIn4,
       false,
       "replace[value, target, replacement]",
       functions::Replace},
      {"retainPrivateTags",
       1,
       -1,
       {Kind::kPath},
       false,
       false,
       "retainPrivateTags[path, ...]",
       functions::RetainPrivateTags},
      {"scalePatientAgeAndDobFromStudyDate",
       0,
       1,
       {Kind::kValue},
       false,
       false,
       "scalePatientAgeAndDobFromStudyDate[]",
       functions::ScalePatientAge},
      {"set",
       2,
       2,
       {Kind::kQuotedPath, Kind::kValue},
       false,
       false,
       "set[\"path\", value]",
       functions::SetPath},
      {"shiftDateByIncrement",
       2,
       3,
       {Kind::kValue},
       false,
       false,
       "shiftDateByIncrement[date, n, unit]",
       functions::ShiftDateByIncrement},
      {"shiftDateTimeByIncrement",
       2,
       3,
       {Kind::kValue},
       false,
       false,
       "shiftDateTimeByIncrement[time, n, unit]",
       functions::ShiftDateTimeByIncrement},
      {"shiftDateTimeListByIncrement",
       2,
       3,
       {Kind::kPath, Kind::kValue},
       false,
       false,
       "shiftDateTimeListByIncrement[{path, ...}, n, unit]",
       functions::ShiftDateTimeListByIncrement},
      {"shiftDateTimeSequenceByIncrement",
       2,
       -1,
       {Kind::kValue, Kind::kQuotedPath},
       false,
       false,
       "shiftDateTimeSequenceByIncrement[seconds, \"path\", ...]",
       functions::ShiftDateTimeSequenceByIncrement},
      {"substring", 3, 3, {Kind::kValue}, kIn4, false, "substring[value, begin, end]", functions::Substring},
      {"true", 0, 0, {Kind::kValue}, false, false, "true[]", functions::True},
      {"uppercase", 1, 1, {Kind::kValue}, kIn4, false, "uppercase[value]", functions::Uppercase},
      {"urlEncode", 1, 1, {Kind::kValue}, kIn4, kOnly4, "urlEncode[value]", functions::UrlEncode},
      {"valueAt", 1, 1, {Kind::kPath}, false, false, "valueAt[path]", functions::ValueAt},
  };
  return table;
}

// Levenshtein distance; names are short.
size_t Distance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1] ? 1 : 0)});
      diagonal = above;
    }
  }
  return row.back();
}

}  // namespace

const FunctionSpec* FindFunction(absl::string_view name) {
  for (const FunctionSpec& function : Table()) {
    if (function.name == name) return &function;
  }
  return nullptr;
}

absl::string_view SimilarFunction(absl::string_view name) {
  constexpr size_t kNameMax = 64, kDistanceMax = 3;  // fixed: suggestions for people
  if (name.size() > kNameMax) return {};
  absl::string_view best;
  size_t best_distance = kDistanceMax + 1;
  for (const FunctionSpec& function : Table()) {
    const size_t distance = Distance(absl::AsciiStrToLower(name), absl::AsciiStrToLower(function.name));
    if (distance < best_distance && distance * 2 < name.size()) {
      best_distance = distance;
      best = function.name;
    }
  }
  return best;
}

}  // namespace narthex::anonymize
