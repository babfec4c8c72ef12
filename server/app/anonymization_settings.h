// The settings of anonymization beside its scripts. Thread-safe.
#pragma once

#include <vector>

#include "server/deidentify/plans.h"
#include "server/rpc/settings_service.h"

namespace narthex::app {

// Appends them; `plans` is borrowed by what they do.
void AddAnonymizationSettings(deidentify::Plans& plans, std::vector<rpc::SettingSpec>& settings);

}  // namespace narthex::app
