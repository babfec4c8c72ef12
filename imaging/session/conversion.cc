#include "imaging/session/conversion.h"

#include <array>
#include <cmath>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

#include "base/limits_sessions.h"

namespace narthex::session {
namespace {

// The digits of `text` up to the first other character; `separator`s between them are skipped.
std::string Digits(absl::string_view text, char separator, size_t max) {
  std::string digits;
  for (char c : text) {
    if (absl::ascii_isdigit(static_cast<unsigned char>(c))) {
      if (digits.size() < max) digits += c;
    } else if (c != separator) {
      break;
    }
  }
  return digits;
}

int Two(absl::string_view digits, size_t at) { return (digits[at] - '0') * 10 + (digits[at + 1] - '0'); }

std::string ConvertOne(const AttributeSpec& spec, const Source& source, absl::string_view value,
                       absl::string_view times) {
  switch (spec.conversion) {
    case Conversion::kNumber:
    case Conversion::kInteger: {
      std::optional<double> number = NumberOf(value);
      if (source.times.has_value()) {
        const std::optional<double> factor = NumberOf(ValueAt(times, 0));
        if (!factor.has_value()) return "";
        if (number.has_value()) *number *= *factor;
      }
      if (!number.has_value()) return "";
      *number *= source.scale;
      return NumberText(spec.conversion == Conversion::kInteger ? std::round(*number) : *number);
    }
    case Conversion::kDate:
      return DateOf(value);
    case Conversion::kTime:
      return TimeOf(value);
    case Conversion::kPersonName:
      return std::string(value.substr(0, value.find('=')));
    default:
      return std::string(value);
  }
}

}  // namespace

std::string DateOf(absl::string_view da) {
  const std::string digits = Digits(absl::StripAsciiWhitespace(da), '.', 8);
  if (digits.size() != 8) return "";
  const int month = Two(digits, 4), day = Two(digits, 6);
  if (month < 1 || month > 12 || day < 1 || day > 31) return "";
  return absl::StrCat(digits.substr(0, 4), "-", digits.substr(4, 2), "-", digits.substr(6, 2));
}

std::string TimeOf(absl::string_view tm) {
  tm = absl::StripAsciiWhitespace(tm);
  // A DT begins with eight digits of a date.
  const std::string all = Digits(tm, ':', 14);
  std::string digits = all.size() >= 10 && !absl::StrContains(tm, ':') ? all.substr(8) : all.substr(0, 6);
  if (digits.size() < 2 || digits.size() % 2 != 0) return "";
  digits.resize(6, '0');
  if (Two(digits, 0) > 23 || Two(digits, 2) > 59 || Two(digits, 4) > 60) return "";
  return absl::StrCat(digits.substr(0, 2), ":", digits.substr(2, 2), ":", digits.substr(4, 2));
}

std::string NumberText(double number) {
  if (number == 0) return "0";  // also -0
  if (std::abs(number) < 1e15 && number == std::floor(number)) return absl::StrFormat("%.0f", number);
  return absl::StrFormat("%.8g", number);
}

std::optional<double> NumberOf(absl::string_view text) {
  double number = 0;
  if (!absl::SimpleAtod(absl::StripAsciiWhitespace(text), &number) || !std::isfinite(number))
    return std::nullopt;
  return number;
}

std::string OrientationOf(absl::string_view cosines) {
  std::array<double, 6> v{};
  size_t count = 0;
  for (absl::string_view part : absl::StrSplit(cosines, '\\')) {
    const std::optional<double> number = NumberOf(part);
    if (!number.has_value() || count == v.size()) return "";
    v[count++] = *number;
  }
  if (count != v.size()) return "";
  const double x = std::abs(v[1] * v[5] - v[2] * v[4]);
  const double y = std::abs(v[2] * v[3] - v[0] * v[5]);
  const double z = std::abs(v[0] * v[4] - v[1] * v[3]);
  if (x == 0 && y == 0 && z == 0) return "";
  return z >= x && z >= y ? "Tra" : x >= y ? "Sag" : "Cor";
}

absl::string_view ValueAt(absl::string_view values, int index) {
  if (index < 0) return absl::StripAsciiWhitespace(values);
  for (; index > 0; --index) {
    const size_t end = values.find('\\');
    if (end == absl::string_view::npos) return {};
    values.remove_prefix(end + 1);
  }
  return absl::StripAsciiWhitespace(values.substr(0, values.find('\\')));
}

std::string Convert(const AttributeSpec& spec, const Source& source, absl::string_view value,
                    absl::string_view times) {
  std::string result;
  if (spec.conversion == Conversion::kOrientation) {
    result = OrientationOf(value);
  } else {
    value = ValueAt(value, source.value_index);
    int count = 0;
    for (absl::string_view part : absl::StrSplit(value, '\\')) {
      if (++count > limits::kAttributeValuesMax) break;
      const std::string one = ConvertOne(spec, source, absl::StripAsciiWhitespace(part), times);
      if (count > 1) result += '\\';
      result += one;
    }
    // Several that all came to nothing are nothing.
    if (result.find_first_not_of('\\') == std::string::npos) result.clear();
  }
  const auto replaced = spec.replace.find(result);
  return replaced == spec.replace.end() ? result : replaced->second;
}

}  // namespace narthex::session
