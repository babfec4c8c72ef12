// What a project, subject, session or file may be called (XNAT's rules). Pure functions; thread-safe.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace narthex::identify {

// Whether `text` is a label: one to limits::kLabelMaxBytes of the characters A-Z a-z 0-9 _ -
bool IsLabel(absl::string_view text);

// `text` with every character (UTF-8 code point, or byte that is part of none) that a label may not hold
// replaced by '_', cut to limits::kLabelMaxBytes. "" stays "". "Doe^John" becomes "Doe_John".
std::string CleanLabel(absl::string_view text);

// The same for a file or folder name, which may also hold '.'; leading dots are dropped; cut to
// limits::kFileNameMaxBytes. The result is "" if nothing is left.
std::string CleanFileName(absl::string_view text);

}  // namespace narthex::identify
