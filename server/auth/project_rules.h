// What a project says of its sessions in the prearchive and on their way into the archive, as it stands in
// its settings_json. Thread-safe.
#pragma once

#include <cstdint>

#include "storage/metadata/records.h"

namespace narthex::auth {

// Zero: the project says nothing.
struct ProjectRules {
  int duplicates = 0;              // number of narthex.v1.DuplicatePolicy.Mode
  int pet_mr = 0;                  // number of narthex.v1.PetMr.Mode
  int64_t idle_build_seconds = 0;  // 1 to 86,400
  int scan_type_mapping = 0;       // number of narthex.v1.Switch.Mode: 1 on, 2 off
  int modality_guard = 0;          // likewise
};

// What is not readable counts as nothing.
ProjectRules RulesOf(const metadata::Project& project);

// Writes `rules` into the project's settings; its other settings stay.
void SetRules(const ProjectRules& rules, metadata::Project& project);

}  // namespace narthex::auth
