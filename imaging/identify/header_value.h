// Values of a header as rules and filters compare them. Inside imaging/identify.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

#include "imaging/dicom/header_facts.h"
#include "imaging/dicom/tag.h"

namespace narthex::identify {

// The value of `tag` as UTF-8, without surrounding blanks; "" if absent. Lives as long as `facts`, or, if the
// value had to be converted, until `scratch` changes.
absl::string_view HeaderValue(const dicom::HeaderFacts& facts, dicom::Tag tag, std::string& scratch);

// What is before the first backslash, without surrounding blanks.
absl::string_view FirstValue(absl::string_view value);

}  // namespace narthex::identify
