// DICOM values as XNAT's documents spell them. Inside imaging/session. Pure functions; thread-safe.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

#include "imaging/session/types.h"

namespace narthex::session {

// "20061214" and "2006.12.14" as "2006-12-14"; "" for what is no date.
std::string DateOf(absl::string_view da);
// "093021.123", "09:30:21" and "0930" as "09:30:21"; of a DT, its time; "" for what is no time.
std::string TimeOf(absl::string_view tm);
// The shortest form: "2.89362000" as "2.89362", "1e2" as "100".
std::string NumberText(double number);
// The number at the beginning of a DS, IS or decimal; nullopt for anything else, infinities included.
std::optional<double> NumberOf(absl::string_view text);
// "Tra", "Sag" or "Cor" of six direction cosines separated by '\'; "" for anything else.
std::string OrientationOf(absl::string_view cosines);

// The value at `index` of several separated by '\', without blanks; "" if there are fewer. -1: all of them.
absl::string_view ValueAt(absl::string_view values, int index);

// `value` (UTF-8) converted as `spec` says; each of several values by itself. `source` is where it is from
// and `times` the value of Source::times. "" if it cannot be converted.
std::string Convert(const AttributeSpec& spec, const Source& source, absl::string_view value,
                    absl::string_view times);

}  // namespace narthex::session
