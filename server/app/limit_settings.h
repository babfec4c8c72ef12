// The limits that can be set while the server runs ("limits.*"), and the values that they have now.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "server/rpc/settings_service.h"

namespace narthex::app {

// One of base/limits.h's that is marked there "(set KEY)".
struct LimitSpec {
  std::string key;
  std::string description;
  uint64_t default_value = 0;
  uint64_t min = 1;
  uint64_t max = 0;
  std::function<void(uint64_t)> apply;
};

// Checks the range, then applies.
std::vector<rpc::SettingSpec> LimitSettings(std::vector<LimitSpec> limits);

// Raises the soft limit of open files to the hard one. Says (logs) if that is fewer than the limits need.
void RaiseOpenFiles();

}  // namespace narthex::app
