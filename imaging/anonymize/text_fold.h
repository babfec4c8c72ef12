// Upper and lower case of UTF-8 text, for the alphabets of DICOM's European character sets. Thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace narthex::anonymize {

std::string LowerUtf8(absl::string_view text);
std::string UpperUtf8(absl::string_view text);

// Takes one code point from the front of `text`, which must not be empty; a malformed byte counts as itself.
uint32_t TakeCodePoint(absl::string_view* text);
void AppendCodePoint(uint32_t code_point, std::string* out);

}  // namespace narthex::anonymize
