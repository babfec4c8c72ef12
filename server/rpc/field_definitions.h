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

// The same, for who does not know the API. `settings` is borrowed.
archiving::FieldDefinitionSource FieldDefinitionsOf(metadata::SettingsStore& settings);

std::vector<archiving::FieldDefinition> FromProto(const v1::ListFieldDefinitionsResponse& definitions);

}  // namespace narthex::rpc
