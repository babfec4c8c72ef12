// Which field of a session `export` writes to. Thread-safe.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace narthex::anonymize {

// Targets beside custom fields.
inline constexpr char kExportNote[] = "note";
inline constexpr char kExportAcquisitionSite[] = "acquisition_site";
inline constexpr char kExportOperator[] = "operator";
inline constexpr char kExportSessionType[] = "session_type";
inline constexpr char kExportFieldPrefix[] = "fields/";

// The target that `path` of a script names: one of the constants, or "fields/NAME" of a custom field. As in
// XNAT the path may begin with a type ("xnat:mrSessionData/note"); which one makes no difference. Custom
// fields are "fields/field[name=coil]/field", "fields/coil", and whatever else is no field that we know;
// characters that a name cannot have become '_'. nullopt: empty, too long, or something that the headers or
// the routing say (project, subject, label, date, scans and the like), which no export may change.
std::optional<std::string> ExportTargetOf(absl::string_view path);

}  // namespace narthex::anonymize
