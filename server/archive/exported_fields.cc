#include "server/archive/exported_fields.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

#include "base/limits_server.h"
#include "base/limits_storage.h"
#include "imaging/anonymize/export_target.h"

namespace narthex::archiving {
namespace {

// A remark names so many fields at most.
constexpr size_t kNamedMax = 20;  // fixed: what one note tells

// The member that `target` is, or null: a custom field.
std::string* MemberOf(absl::string_view target, ExportedFields& fields) {
  if (target == anonymize::kExportNote) return &fields.note;
  if (target == anonymize::kExportAcquisitionSite) return &fields.acquisition_site;
  if (target == anonymize::kExportOperator) return &fields.operator_name;
  if (target == anonymize::kExportSessionType) return &fields.session_type;
  return nullptr;
}

// Why `value` cannot be a field of this name; "": it can.
std::string Misfit(const std::string& name, const std::string& value,
                   const std::vector<FieldDefinition>& definitions) {
  if (value.size() > limits::kCustomFieldMaxBytes) return "is too long";
  for (const FieldDefinition& definition : definitions) {
    if (definition.name != name) continue;
    FieldDefinition optional = definition;
    optional.required = false;
    if (!CheckFields({{name, value}}, {optional}).ok()) return "does not fit what the project defines";
  }
  return "";
}

void AddNames(absl::string_view what, std::vector<std::string> names, std::vector<std::string>& remarks) {
  if (names.empty()) return;
  std::sort(names.begin(), names.end());
  const size_t more = names.size() > kNamedMax ? names.size() - kNamedMax : 0;
  names.resize(names.size() - more);
  remarks.push_back(
      absl::StrCat(what, absl::StrJoin(names, ", "), more == 0 ? "" : absl::StrCat(" and ", more, " more")));
}

}  // namespace

ExportedFields ExportedFieldsOf(const prearchive::ExportedValues& exported,
                                const std::vector<FieldDefinition>& definitions) {
  ExportedFields result;
  std::vector<std::string> taken, left_out, differing;
  for (const auto& [target, row] : exported.rows()) {
    absl::string_view shown = target;
    absl::ConsumePrefix(&shown, anonymize::kExportFieldPrefix);
    const std::string name(shown);
    std::string why;
    if (std::string* member = MemberOf(target, result); member != nullptr) {
      if (row.value().size() >
          (member == &result.note ? limits::kNoteMaxBytes : limits::kSessionWordMaxBytes))
        why = "is too long";
      if (why.empty()) *member = row.value();
    } else {
      why = Misfit(name, row.value(), definitions);
      if (why.empty() && result.fields.size() == limits::kCustomFieldsMax) why = "is one field too many";
      if (why.empty()) result.fields[name] = row.value();
    }
    if (!why.empty()) {
      left_out.push_back(absl::StrCat(name, " (", why, ")"));
      continue;
    }
    taken.push_back(name);
    if (row.differing_count() > 0) differing.push_back(absl::StrCat(name, " (", row.differing_count(), ")"));
  }
  AddNames("exported by a script: ", std::move(taken), result.remarks);
  AddNames("not exported: ", std::move(left_out), result.remarks);
  AddNames("exported with other values by some objects, of which the first was taken: ", std::move(differing),
           result.remarks);
  return result;
}

void Describe(const ExportedFields& exported, session::SessionModel& model) {
  if (!exported.acquisition_site.empty()) model.acquisition_site = exported.acquisition_site;
  if (!exported.operator_name.empty()) model.operator_name = exported.operator_name;
  if (!exported.session_type.empty()) model.session_type = exported.session_type;
}

void FillIn(ExportedFields& exported, std::string& note, Fields& fields) {
  std::vector<std::string> kept;
  if (note.empty()) {
    note = exported.note;
  } else if (!exported.note.empty() && exported.note != note) {
    kept.push_back(anonymize::kExportNote);
  }
  for (const auto& [name, value] : exported.fields) {
    const auto there = fields.find(name);
    if (there == fields.end() && fields.size() < limits::kCustomFieldsMax) {
      fields[name] = value;
    } else if (there == fields.end() || there->second != value) {
      kept.push_back(name);
    }
  }
  AddNames("kept as the session had them, though exported otherwise: ", std::move(kept), exported.remarks);
}

}  // namespace narthex::archiving
