// Custom fields of projects, subjects and sessions: what a project defines, and whether values fit. Pure
// functions.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace narthex::archiving {

enum class FieldType { kString, kInteger, kFloat, kBoolean, kDate };

struct FieldDefinition {
  std::string name;
  FieldType type = FieldType::kString;
  bool required = false;
  std::vector<std::string> possible_values;  // empty: any
  std::string description;
};

using Fields = std::map<std::string, std::string>;

// INVALID_ARGUMENT (INVALID_FIELD): a name is not [A-Za-z0-9_.-]{1,64} or comes twice, a possible value does
// not fit the type, there are too many.
absl::Status CheckDefinitions(const std::vector<FieldDefinition>& definitions);

// Whether a value fits the type: an integer of 64 bits, a finite decimal number, true or false, YYYY-MM-DD.
bool FitsType(absl::string_view value, FieldType type);

// Whether something may have these fields. Fields that nobody defined are texts. INVALID_ARGUMENT
// (CUSTOM_FIELD, metadata "field"): says what is wrong and never the value.
absl::Status CheckFields(const Fields& fields, const std::vector<FieldDefinition>& definitions);

}  // namespace narthex::archiving
