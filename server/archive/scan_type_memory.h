// XNAT's scan type mapping: a scan is called what people called such scans before in its project.
// Thread-safe.
#pragma once

#include "absl/strings/string_view.h"

#include "imaging/session/builder.h"
#include "storage/metadata/database.h"

namespace narthex::archiving {

// What people chose in `project`. Among the types that were chosen for a description and modality, one of a
// scan with as many frames comes before others, then the newest. Empty: nothing was chosen. While the
// database is away nothing is mapped: a build does not wait for it, and archiving, which does, maps again.
decltype(session::BuildOptions::scan_type) ChosenScanTypes(metadata::Database& database,
                                                           absl::string_view project);

}  // namespace narthex::archiving
