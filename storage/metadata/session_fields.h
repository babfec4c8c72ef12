// The fields that filters and orders may name, and how SQL spells them. Pure functions.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

#include "storage/metadata/session_filter.h"

namespace narthex::metadata {

struct SessionField {
  enum class Type { kText, kNumber, kDate, kTime, kTimestamp, kStatus, kMap };
  Type type = Type::kText;
  // SQL over s (session), u (subject), c (a scan), d (what the document says) or p (project); the jsonb
  // column for kMap.
  std::string column;
  bool of_scan = false;
  std::string key;  // kMap: the member that is asked for
};

// Of which row the column is: 's', 'u', 'c', 'd' or 'p'.
inline char RowOf(const SessionField& field) { return field.column[0]; }

// `name` in camelCase or snake_case, e.g. sessionDate, scans.parameters.tr. nullopt: no such field.
std::optional<SessionField> FindField(absl::string_view name);

// "" if field, operator and value go together, else what is wrong.
std::string CheckRestriction(const FilterNode& node);

}  // namespace narthex::metadata
