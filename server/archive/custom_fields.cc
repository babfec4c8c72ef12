#include "server/archive/custom_fields.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/civil_time.h"

#include "base/error.h"
#include "base/limits.h"
#include "base/limits_storage.h"
#include "base/status.h"

namespace narthex::archiving {
namespace {

bool IsName(absl::string_view name) {
  return !name.empty() && name.size() <= limits::kLabelMaxBytes &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '-'; });
}

absl::string_view Expected(FieldType type) {
  switch (type) {
    case FieldType::kInteger:
      return "an integer";
    case FieldType::kFloat:
      return "a number such as 12.5";
    case FieldType::kBoolean:
      return "true or false";
    case FieldType::kDate:
      return "a date such as 2024-01-31";
    case FieldType::kString:
      break;
  }
  return "a text";
}

absl::Status Refused(const std::string& name, absl::string_view what) {
  return InvalidArgument("CUSTOM_FIELD", absl::StrCat("custom field ", name.substr(0, 64), ": ", what),
                         {{"field", name.substr(0, 64)}});
}

absl::Status InvalidDefinition(absl::string_view what) {
  return InvalidArgument("INVALID_FIELD", absl::StrCat("definitions: ", what), {{"field", "definitions"}});
}

}  // namespace

bool FitsType(absl::string_view value, FieldType type) {
  int64_t integer;
  double number;
  absl::CivilDay day;
  switch (type) {
    case FieldType::kInteger:
      return value.find_first_not_of("0123456789+-") == absl::string_view::npos &&
             absl::SimpleAtoi(value, &integer);
    case FieldType::kFloat:
      return value.find_first_not_of("0123456789+-.eE") == absl::string_view::npos &&
             absl::SimpleAtod(value, &number) && std::isfinite(number);
    case FieldType::kBoolean:
      return value == "true" || value == "false";
    case FieldType::kDate:
      return value.size() == 10 && absl::ParseCivilTime(value, &day) && day.year() >= 1;
    case FieldType::kString:
      break;
  }
  return true;
}

absl::Status CheckDefinitions(const std::vector<FieldDefinition>& definitions) {
  if (definitions.size() > limits::kCustomFieldsMax) return InvalidDefinition("too many");
  std::set<std::string> names;
  for (const FieldDefinition& definition : definitions) {
    if (!IsName(definition.name))
      return InvalidDefinition("a name is not 1 to 64 of letters, digits, '_', '.', '-'");
    if (!names.insert(definition.name).second) {
      return InvalidDefinition(absl::StrCat(definition.name, " is defined twice"));
    }
    if (definition.possible_values.size() > limits::kCustomFieldsMax ||
        definition.description.size() > limits::kCustomFieldMaxBytes) {
      return InvalidDefinition(absl::StrCat(definition.name, " is too large"));
    }
    for (const std::string& value : definition.possible_values) {
      if (value.size() > limits::kCustomFieldMaxBytes || !FitsType(value, definition.type)) {
        return InvalidDefinition(
            absl::StrCat("a possible value of ", definition.name, " is not ", Expected(definition.type)));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckFields(const Fields& fields, const std::vector<FieldDefinition>& definitions) {
  if (fields.size() > limits::kCustomFieldsMax) {
    return Refused(fields.begin()->first,
                   absl::StrCat("more than ", limits::kCustomFieldsMax.get(), " fields"));
  }
  for (const auto& [name, value] : fields) {
    if (!IsName(name)) return Refused(name, "a name is 1 to 64 of letters, digits, '_', '.' and '-'");
    if (value.size() > limits::kCustomFieldMaxBytes)
      return Refused(name, absl::StrCat("longer than ", limits::kCustomFieldMaxBytes.get() >> 10, " KiB"));
  }
  for (const FieldDefinition& definition : definitions) {
    const auto field = fields.find(definition.name);
    if (field == fields.end() || field->second.empty()) {
      if (definition.required) return Refused(definition.name, "the project requires it");
      continue;
    }
    if (!FitsType(field->second, definition.type)) {
      return Refused(definition.name, absl::StrCat("expected ", Expected(definition.type)));
    }
    const auto& values = definition.possible_values;
    if (!values.empty() && std::find(values.begin(), values.end(), field->second) == values.end()) {
      return Refused(definition.name, absl::StrCat("expected one of ", absl::StrJoin(values, ", ")));
    }
  }
  return absl::OkStatus();
}

}  // namespace narthex::archiving
