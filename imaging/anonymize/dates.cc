#include "imaging/anonymize/dates.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace narthex::anonymize {
namespace {

constexpr int64_t kSecondsPerDay = 86'400;
// Larger shifts leave the calendar anyway; the bound keeps the arithmetic from overflowing.
constexpr int64_t kShiftMaxSeconds = int64_t{20'000} * 366 * kSecondsPerDay;  // fixed: the calendar

bool AllDigits(absl::string_view text) {
  for (char c : text) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return false;
  }
  return true;
}

int Number(absl::string_view digits) {
  int value = 0;
  for (char c : digits) value = value * 10 + (c - '0');
  return value;
}

bool InCalendar(absl::CivilSecond time) { return time.year() >= 1 && time.year() <= 9999; }

std::optional<std::string> ShiftOneDate(absl::string_view text, int64_t days) {
  const std::optional<absl::CivilDay> day = ParseDate(text);
  if (!day.has_value() || std::abs(days) > kShiftMaxSeconds / kSecondsPerDay) return std::nullopt;
  const absl::CivilDay moved = *day + days;
  if (!InCalendar(absl::CivilSecond(moved))) return std::nullopt;
  if (text.size() == 10) return absl::StrFormat("%04d.%02d.%02d", moved.year(), moved.month(), moved.day());
  return absl::StrFormat("%04d%02d%02d", moved.year(), moved.month(), moved.day());
}

std::optional<std::string> ShiftOneDateTime(absl::string_view text, int64_t seconds) {
  if (std::abs(seconds) > kShiftMaxSeconds) return std::nullopt;
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const absl::string_view tail = text.substr(digits);  // fraction and zone
  if (!tail.empty() && tail[0] != '.' && tail[0] != '+' && tail[0] != '-') return std::nullopt;
  if (digits == 4 || digits == 6) return std::string(text);
  if (digits < 8 || digits > 14 || digits % 2 != 0) return std::nullopt;
  const std::optional<absl::CivilDay> day = ParseDate(text.substr(0, 8));
  if (!day.has_value()) return std::nullopt;
  int parts[3] = {0, 0, 0};
  for (size_t i = 0; 8 + 2 * i < digits; ++i) parts[i] = Number(text.substr(8 + 2 * i, 2));
  if (parts[0] > 23 || parts[1] > 59 || parts[2] > 60) return std::nullopt;
  const absl::CivilSecond time(day->year(), day->month(), day->day(), parts[0], parts[1], parts[2]);
  const absl::CivilSecond moved = time + seconds;
  if (!InCalendar(moved)) return std::nullopt;
  const std::string whole = absl::StrFormat("%04d%02d%02d%02d%02d%02d", moved.year(), moved.month(),
                                            moved.day(), moved.hour(), moved.minute(), moved.second());
  return absl::StrCat(absl::string_view(whole).substr(0, digits), tail);
}

template <typename ShiftOne>
std::optional<std::string> ShiftEach(absl::string_view values, ShiftOne shift) {
  std::vector<std::string> moved;
  for (absl::string_view value : absl::StrSplit(values, '\\')) {
    value = absl::StripAsciiWhitespace(value);
    if (value.empty()) {
      moved.emplace_back();
      continue;
    }
    std::optional<std::string> one = shift(value);
    if (!one.has_value()) return std::nullopt;
    moved.push_back(*std::move(one));
  }
  return absl::StrJoin(moved, "\\");
}

}  // namespace

std::optional<absl::CivilDay> ParseDate(absl::string_view text) {
  std::string digits(text);
  if (text.size() == 10 && text[4] == '.' && text[7] == '.') {  // ACR-NEMA's form
    digits = absl::StrCat(text.substr(0, 4), text.substr(5, 2), text.substr(8, 2));
  }
  if (digits.size() != 8 || !AllDigits(digits)) return std::nullopt;
  const int year = Number(digits.substr(0, 4)), month = Number(digits.substr(4, 2)),
            day = Number(digits.substr(6, 2));
  const absl::CivilDay civil(year, month, day);
  if (year < 1 || civil.month() != month || civil.day() != day) return std::nullopt;
  return civil;
}

std::optional<std::string> ShiftDate(absl::string_view dates, int64_t days) {
  return ShiftEach(dates, [days](absl::string_view value) { return ShiftOneDate(value, days); });
}

std::optional<std::string> ShiftDateTime(absl::string_view times, int64_t seconds) {
  return ShiftEach(times, [seconds](absl::string_view value) { return ShiftOneDateTime(value, seconds); });
}

std::optional<int64_t> AgeInYears(absl::string_view age) {
  age = absl::StripAsciiWhitespace(age);
  if (age.size() < 2 || age.size() > 6 || !AllDigits(age.substr(0, age.size() - 1))) return std::nullopt;
  const int64_t count = Number(age.substr(0, age.size() - 1));
  switch (age.back()) {
    case 'Y':
      return count;
    case 'M':
      return count / 12;
    case 'W':
      return count * 7 / 365;
    case 'D':
      return count / 365;
    default:
      return std::nullopt;
  }
}

}  // namespace narthex::anonymize
