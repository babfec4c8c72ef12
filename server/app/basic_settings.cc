#include "server/app/basic_settings.h"

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "base/limits_server.h"
#include "server/rpc/convert.h"

namespace narthex::app {

void AddBasicSettings(rpc::Gate& gate, prearchive::Prearchive& prearchive,
                      std::vector<rpc::SettingSpec>& settings) {
  settings.push_back(
      {"access.guests",
       "who calls without a token: none is let in, or they read public projects; none or public", "none",
       [&gate](const std::string& value) {
         if (value != "none" && value != "public")
           return rpc::InvalidField("value", "expected none or public");
         gate.AdmitGuests(value == "public");
         return absl::OkStatus();
       }});
  settings.push_back({"prearchive.idle_build_seconds",
                      absl::StrCat("a session is built when no object came for so long; ",
                                   limits::kIdleBuildSecondsDefault.least_number(), " to ",
                                   limits::kIdleBuildSecondsDefault.most_number(), " seconds"),
                      absl::StrCat(limits::kIdleBuildSecondsDefault.get()),
                      [&prearchive](const std::string& value) {
                        int64_t seconds = 0;
                        if (!absl::SimpleAtoi(value, &seconds) || seconds < 1 || seconds > 86400) {
                          return rpc::InvalidField("value", "expected 1 to 86400 (seconds)");
                        }
                        return prearchive.SetIdleBuild(absl::Seconds(seconds));
                      }});
}

}  // namespace narthex::app
