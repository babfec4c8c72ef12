#include "server/app/anonymization_settings.h"

#include <set>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"

#include "imaging/anonymize/url_hosts.h"
#include "server/deidentify/web_fetcher.h"
#include "server/rpc/convert.h"

namespace narthex::app {
namespace {

std::set<std::string> Words(const std::string& text) {
  std::set<std::string> words;
  for (absl::string_view word : absl::StrSplit(text, absl::ByAnyChar(", "), absl::SkipEmpty()))
    words.insert(std::string(word));
  return words;
}

}  // namespace

absl::StatusOr<std::unique_ptr<deidentify::Plans>> OpenPlans(metadata::ScriptStore& store) {
  return deidentify::Plans::Open(store, {deidentify::WebFetcher()});
}

void AddAnonymizationSettings(deidentify::Plans& plans, std::vector<rpc::SettingSpec>& settings) {
  settings.push_back({"anonymize.trusted_uploaders",
                      "users who may send objects that they de-identified themselves, separated by commas; "
                      "each object must record the scripts in force",
                      "", [&plans](const std::string& value) {
                        plans.SetTrustedUploaders(Words(value));
                        return absl::OkStatus();
                      }});
  settings.push_back({"anonymize.url_hosts",
                      "hosts that getURL in anonymization scripts may ask, as HOST or HOST:PORT, separated "
                      "by commas; none: it "
                      "is off",
                      "", [&plans](const std::string& value) {
                        const std::set<std::string> hosts = Words(absl::AsciiStrToLower(value));
                        for (const std::string& host : hosts) {
                          if (!anonymize::IsUrlHost(host))
                            return rpc::InvalidField("value", "expected HOST or HOST:PORT, ...");
                        }
                        return plans.SetUrlHosts(hosts);
                      }});
}

}  // namespace narthex::app
