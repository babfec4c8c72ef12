// The settings of anonymization beside its scripts. Thread-safe.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"

#include "server/deidentify/plans.h"
#include "server/rpc/settings_service.h"

namespace narthex::app {

// As Plans::Open, with getURL over the network.
absl::StatusOr<std::unique_ptr<deidentify::Plans>> OpenPlans(metadata::ScriptStore& store);

// Appends them; `plans` is borrowed by what they do.
void AddAnonymizationSettings(deidentify::Plans& plans, std::vector<rpc::SettingSpec>& settings);

}  // namespace narthex::app
