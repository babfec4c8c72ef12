// Private attributes that DICOM PS3.15 (section E.3.10) lists as safe. Thread-safe.
#pragma once

#include "absl/strings/string_view.h"

#include "imaging/dicom/tag.h"

namespace narthex::anonymize {

// Whether the private attribute `tag` in a block of `creator` is known to identify nobody.
bool IsSafePrivate(absl::string_view creator, dicom::Tag tag);

}  // namespace narthex::anonymize
