// The attributes that every session document has, whatever its type files say. Inside imaging/session.
#pragma once

#include "absl/types/span.h"

#include "imaging/dicom/tag.h"

namespace narthex::session {

absl::Span<const dicom::TagPath> BuiltInPaths();

}  // namespace narthex::session
