// Dates and times as DICOM writes them (DA, DT), moved by days or seconds. Thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/civil_time.h"

namespace narthex::anonymize {

// "20200115" or "2020.01.15". nullopt: no date.
std::optional<absl::CivilDay> ParseDate(absl::string_view text);

// Moves each date of a DA value (values are separated by backslashes); empty ones stay. nullopt: one is no
// date, or leaves the years 1 to 9999.
std::optional<std::string> ShiftDate(absl::string_view dates, int64_t days);

// The same for DT values, which may be dates too. Fraction and time zone stay. Values without a day ("2020",
// "202001") stay as they are.
std::optional<std::string> ShiftDateTime(absl::string_view times, int64_t seconds);

// The years of an AS value ("095Y", "1100M"), rounded down. nullopt: no age.
std::optional<int64_t> AgeInYears(absl::string_view age);

}  // namespace narthex::anonymize
