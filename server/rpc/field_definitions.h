// Custom field definitions as a project keeps them: one setting, in the API's JSON. Thread-safe functions.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "narthex/v1/project_service.pb.h"
#include "server/archive/custom_fields.h"
#include "server/archive/exported_fields.h"
#include "storage/metadata/settings_store.h"

namespace narthex::rpc {

inline constexpr char kFieldDefinitionsKey[] = "archive.custom_fields";

// None if the project never defined any.
absl::StatusOr<v1::ListFieldDefinitionsResponse> LoadFieldDefinitions(metadata::SettingsStore& settings,
                                                                      const std::string& project);

absl::Status SaveFieldDefinitions(metadata::SettingsStore& settings, const std::string& project,
                                  const v1::ListFieldDefinitionsResponse& definitions,
                                  const metadata::Change& change);

// Those of sessions, for who does not know the API. `settings` is borrowed.
archiving::FieldDefinitionSource FieldDefinitionsOf(metadata::SettingsStore& settings);

// Those of what a `holder` has.
std::vector<archiving::FieldDefinition> FromProto(const v1::ListFieldDefinitionsResponse& definitions,
                                                  v1::FieldDefinition::Holder holder);

// Removes and sets fields and checks all that are there then against the project's definitions for `holder`,
// if any is changed. INVALID_ARGUMENT (CUSTOM_FIELD).
absl::Status ChangeCustomFields(metadata::SettingsStore& settings, const std::string& project,
                                v1::FieldDefinition::Holder holder,
                                const google::protobuf::Map<std::string, std::string>& set,
                                const google::protobuf::RepeatedPtrField<std::string>& remove,
                                archiving::Fields& fields);

}  // namespace narthex::rpc
