#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/status.h"
#include "imaging/anonymize/dates.h"
#include "imaging/anonymize/function_bodies.h"

namespace narthex::anonymize::functions {
namespace {

namespace tags = dicom::tags;

constexpr int64_t kSecondsPerDay = 86'400;
constexpr int64_t kAmountMax = int64_t{1} << 40;  // fixed: no overflow behind it
// XNAT's: 89 years of 365.24 days.
constexpr int64_t kDaysIn89Years = 32'506;
constexpr int64_t kAgeMax = 89;  // fixed: HIPAA, 45 CFR 164.514

// Seconds of `amount` units.
absl::StatusOr<int64_t> Seconds(Evaluator& evaluator, const Expression& call, size_t amount_argument,
                                size_t unit_argument, absl::string_view default_unit) {
  NX_ASSIGN_OR_RETURN(const int64_t amount, evaluator.Integer(call, amount_argument));
  std::string unit(default_unit);
  if (unit_argument < call.arguments.size()) {
    NX_ASSIGN_OR_RETURN(unit, evaluator.RequiredText(call, unit_argument));
  }
  if (amount > kAmountMax || amount < -kAmountMax)
    return evaluator.Fail(call.position, absl::StrCat(call.text, ": the shift is too large"));
  if (unit == "seconds") return amount;
  if (unit == "minutes") return amount * 60;
  if (unit == "hours") return amount * 3600;
  if (unit == "days") return amount * kSecondsPerDay;
  if (unit == "weeks") return amount * 7 * kSecondsPerDay;
  return evaluator.Fail(call.position,
                        absl::StrCat(call.text, ": the unit must be seconds, minutes, hours, days or weeks"));
}

// Whole days, rounded down as a date at midnight moves.
int64_t DaysOf(int64_t seconds) {
  return seconds >= 0 ? seconds / kSecondsPerDay : -((-seconds + kSecondsPerDay - 1) / kSecondsPerDay);
}

absl::Status NoDate(Evaluator& evaluator, const Expression& call) {
  return evaluator.Fail(
      call.position,
      absl::StrCat(call.text, ": the value is no date, or leaves the calendar when it is shifted"));
}

absl::Status ShiftMatches(Evaluator& evaluator, const Expression& call, const std::vector<PathMatch>& found,
                          int64_t seconds) {
  for (const PathMatch& match : found) {
    const std::optional<std::string> text = match.item->GetText(match.tag);
    if (!text.has_value() || text->empty()) continue;
    const std::optional<std::string> shifted = ShiftDateTime(*text, seconds);
    if (!shifted.has_value()) {
      return evaluator.Fail(call.position,
                            absl::StrCat(call.text, ": ", match.tag.ToString(), " holds no date"));
    }
    NX_RETURN_IF_ERROR(evaluator.SetText(call.position, *match.item, match.tag, *shifted));
  }
  return absl::OkStatus();
}

absl::Status SetAll(Evaluator& evaluator, const Expression& call, dicom::Tag tag,
                    absl::FunctionRef<absl::StatusOr<std::string>(const std::string&)> change) {
  NX_ASSIGN_OR_RETURN(const std::vector<PathMatch> found,
                      FindElements(evaluator.data(), evaluator.budget(),
                                   [tag](const dicom::Item&, const dicom::Element& element) {
                                     return element.tag() == tag;
                                   }));
  for (const PathMatch& match : found) {
    NX_ASSIGN_OR_RETURN(const std::string text, change(match.item->TextOrEmpty(match.tag)));
    NX_RETURN_IF_ERROR(evaluator.SetText(call.position, *match.item, match.tag, text));
  }
  return absl::OkStatus();
}

absl::Status ShiftBirthDates(Evaluator& evaluator, const Expression& call) {
  const std::optional<absl::CivilDay> birth =
      ParseDate(evaluator.data().TextOrEmpty(tags::kPatientBirthDate));
  const std::optional<absl::CivilDay> study = ParseDate(evaluator.data().TextOrEmpty(tags::kStudyDate));
  if (!birth.has_value() || !study.has_value()) return absl::OkStatus();
  const int64_t excess = (*study - *birth) - kDaysIn89Years;
  if (excess <= 0) return absl::OkStatus();
  return SetAll(evaluator, call, tags::kPatientBirthDate,
                [&](const std::string& date) -> absl::StatusOr<std::string> {
                  std::optional<std::string> shifted = ShiftDate(date, excess);
                  if (!shifted.has_value()) return NoDate(evaluator, call);
                  return *std::move(shifted);
                });
}

}  // namespace

Return ShiftDateByIncrement(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::optional<std::string> date, evaluator.Text(call, 0));
  NX_ASSIGN_OR_RETURN(const int64_t seconds, Seconds(evaluator, call, 1, 2, "days"));
  if (!date.has_value() || date->empty()) return Value();
  std::optional<std::string> shifted = ShiftDate(*date, DaysOf(seconds));
  if (!shifted.has_value()) return NoDate(evaluator, call);
  return Value(*std::move(shifted));
}

Return ShiftDateTimeByIncrement(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const std::optional<std::string> time, evaluator.Text(call, 0));
  NX_ASSIGN_OR_RETURN(const int64_t seconds, Seconds(evaluator, call, 1, 2, "seconds"));
  if (!time.has_value() || time->empty()) return Value();
  std::optional<std::string> shifted = ShiftDateTime(*time, seconds);
  if (!shifted.has_value()) return NoDate(evaluator, call);
  return Value(*std::move(shifted));
}

Return ShiftDateTimeSequenceByIncrement(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const int64_t seconds, Seconds(evaluator, call, 0, call.arguments.size(), "seconds"));
  NX_ASSIGN_OR_RETURN(const std::vector<PathMatch> found, evaluator.MatchArguments(call, 1));
  NX_RETURN_IF_ERROR(ShiftMatches(evaluator, call, found, seconds));
  return Value();
}

Return ShiftDateTimeListByIncrement(Evaluator& evaluator, const Expression& call) {
  NX_ASSIGN_OR_RETURN(const int64_t seconds, Seconds(evaluator, call, 1, 2, "seconds"));
  Expression paths;
  paths.arguments.push_back(call.arguments[0]);
  NX_ASSIGN_OR_RETURN(const std::vector<PathMatch> found, evaluator.MatchArguments(paths, 0));
  NX_RETURN_IF_ERROR(ShiftMatches(evaluator, call, found, seconds));
  return Value();
}

Return ScalePatientAge(Evaluator& evaluator, const Expression& call) {
  NX_RETURN_IF_ERROR(ShiftBirthDates(evaluator, call));
  const std::optional<int64_t> age = AgeInYears(evaluator.data().TextOrEmpty(tags::kPatientAge));
  if (age.value_or(0) > kAgeMax) {
    NX_RETURN_IF_ERROR(
        SetAll(evaluator, call, tags::kPatientAge,
               [](const std::string&) -> absl::StatusOr<std::string> { return std::string("089Y"); }));
  }
  return Value();
}

}  // namespace narthex::anonymize::functions
