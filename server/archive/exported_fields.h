// From what scripts exported (DicomEdit's `export`) to what an archived session is given. Pure functions.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "imaging/session/model.h"
#include "server/archive/custom_fields.h"
#include "server/prearchive/exported.h"
#include "storage/metadata/records.h"

namespace narthex::archiving {

// What a project defines for its sessions. Asks the database.
using FieldDefinitionSource =
    std::function<absl::StatusOr<std::vector<FieldDefinition>>(const std::string& project)>;

// Empty members: nothing was exported. Values are a patient's: never log them.
struct ExportedFields {
  std::string note;
  std::string acquisition_site;
  std::string operator_name;
  std::string session_type;
  Fields fields;
  std::vector<std::string> remarks;  // for the session's history: names and counts, never a value
};

// Values that are longer than their field takes, or of another type than the project defines, are left out;
// the remarks say so. Fields that nobody defined are texts.
ExportedFields ExportedFieldsOf(const prearchive::ExportedValues& exported,
                                const std::vector<FieldDefinition>& definitions);

// Exported values take the place of what the headers said.
void Describe(const ExportedFields& exported, session::SessionModel& model);

// Gives `note` and `fields` of an archived session what they have not; what is there stays, and a remark says
// that it is something else.
void FillIn(ExportedFields& exported, std::string& note, Fields& fields);

}  // namespace narthex::archiving
