#include "server/app/anonymization_settings.h"

#include <set>
#include <string>

#include "absl/strings/str_split.h"

namespace narthex::app {
namespace {

std::set<std::string> Words(const std::string& text) {
  std::set<std::string> words;
  for (absl::string_view word : absl::StrSplit(text, absl::ByAnyChar(", "), absl::SkipEmpty()))
    words.insert(std::string(word));
  return words;
}

}  // namespace

void AddAnonymizationSettings(deidentify::Plans& plans, std::vector<rpc::SettingSpec>& settings) {
  settings.push_back({"anonymize.trusted_uploaders",
                      "users who may send objects that they de-identified themselves, separated by commas; "
                      "each object must record the scripts in force",
                      "", [&plans](const std::string& value) {
                        plans.SetTrustedUploaders(Words(value));
                        return absl::OkStatus();
                      }});
  settings.push_back(
      {"anonymize.url_hosts",
       "hosts that getURL in anonymization scripts may ask, separated by commas; none: it is off", "",
       [&plans](const std::string& value) { return plans.SetUrlHosts(Words(value)); }});
}

}  // namespace narthex::app
