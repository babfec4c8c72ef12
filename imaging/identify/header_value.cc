#include "imaging/identify/header_value.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"

namespace narthex::identify {

absl::string_view HeaderValue(const dicom::HeaderFacts& facts, dicom::Tag tag, std::string& scratch) {
  absl::string_view value = facts.Get(tag);
  // ESC begins a change of character set; everything else below 0x80 means itself in all of them.
  const bool ascii = std::all_of(value.begin(), value.end(), [](char c) { return c > 0 && c != '\x1b'; });
  if (!ascii) {
    scratch = facts.Text(tag);
    value = scratch;
  }
  return absl::StripAsciiWhitespace(value);
}

absl::string_view FirstValue(absl::string_view value) {
  return absl::StripAsciiWhitespace(value.substr(0, value.find('\\')));
}

}  // namespace narthex::identify
