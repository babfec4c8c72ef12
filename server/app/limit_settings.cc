#include "server/app/limit_settings.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include <sys/resource.h>

#include "base/limits_server.h"
#include "base/log.h"
#include "server/rpc/convert.h"

namespace narthex::app {

std::vector<rpc::SettingSpec> LimitSettings(std::vector<LimitSpec> limits) {
  std::vector<rpc::SettingSpec> settings;
  for (LimitSpec& limit : limits) {
    rpc::SettingSpec spec;
    spec.key = limit.key;
    const auto min = static_cast<uint64_t>(limit.limit.least_number());
    const auto max = static_cast<uint64_t>(limit.limit.most_number());
    spec.description = absl::StrCat(limit.description, "; ", min, " to ", max);
    spec.default_value = absl::StrCat(limit.limit.number());
    spec.apply = [min, max, apply = std::move(limit.apply)](const std::string& text) {
      uint64_t value = 0;
      if (!absl::SimpleAtoi(text, &value) || value < min || value > max) {
        return rpc::InvalidField("value", absl::StrCat("expected ", min, " to ", max));
      }
      apply(value);
      return absl::OkStatus();
    };
    settings.push_back(std::move(spec));
  }
  return settings;
}

void RaiseOpenFiles() {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= limits::kOpenFilesMin) return;
  Log(LogLevel::kWarning, "few open files are allowed; connections will be refused when they are used up",
      {{"allowed", limit.rlim_cur}, {"wanted", limits::kOpenFilesMin.get()}});
}

}  // namespace narthex::app
