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
  std::string column;  // SQL over s (session), u (subject) or c (a scan); the jsonb column for kMap
  bool of_scan = false;
  std::string key;  // kMap: the member that is asked for
};

// `name` in camelCase or snake_case, e.g. sessionDate, scans.parameters.tr. nullopt: no such field.
std::optional<SessionField> FindField(absl::string_view name);

// "" if field, operator and value go together, else what is wrong.
std::string CheckRestriction(const FilterNode& node);

}  // namespace narthex::metadata
