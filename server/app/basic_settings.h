// The settings of the prearchive and of who is let in. Thread-safe as what they change is.
#pragma once

#include <vector>

#include "server/prearchive/prearchive.h"
#include "server/rpc/settings_service.h"
#include "server/rpc/status.h"

namespace narthex::app {

// Appends them; `gate` and `prearchive` are borrowed by what they do.
void AddBasicSettings(rpc::Gate& gate, prearchive::Prearchive& prearchive,
                      std::vector<rpc::SettingSpec>& settings);

}  // namespace narthex::app
