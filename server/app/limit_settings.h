// The limits that can be set while the server runs ("limits.*"), and the values that they have now.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/limit.h"
#include "server/rpc/settings_service.h"

namespace narthex::app {

// One of base/limits*.h that is marked there "(set KEY)".
struct LimitSpec {
  std::string key;
  std::string description;
  const AnyLimit& limit;  // its value: what is in force while nothing is set
  std::function<void(uint64_t)> apply;
};

// Checks the range, then applies.
std::vector<rpc::SettingSpec> LimitSettings(std::vector<LimitSpec> limits);

// Raises the soft limit of open files to the hard one. Says (logs) if that is fewer than the limits need.
void RaiseOpenFiles();

}  // namespace narthex::app
