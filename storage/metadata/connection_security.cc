#include "storage/metadata/connection_security.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include <libpq-fe.h>

#include "base/local_address.h"

namespace narthex::metadata {
namespace {

// A list: libpq tries one after the other.
bool IsElsewhere(const std::string& hosts) {
  const std::vector<std::string> each = absl::StrSplit(hosts, ',');
  return std::any_of(each.begin(), each.end(), [](const std::string& host) {
    const bool socket = host.empty() || host[0] == '/' || host[0] == '@';
    return !socket && !IsLocalHost(host);
  });
}

}  // namespace

std::string SslModeOf(const std::string& conninfo) {
  char* error = nullptr;
  const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> options(
      PQconninfoParse(conninfo.c_str(), &error), PQconninfoFree);
  PQfreemem(error);
  if (options == nullptr) return "";  // connecting says what is wrong
  const auto value = [&](absl::string_view key, const char* variable) {
    for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option) {
      if (option->keyword == key && option->val != nullptr) return std::string(option->val);
    }
    const char* of_environment = std::getenv(variable);
    return std::string(of_environment == nullptr ? "" : of_environment);
  };
  if (!value("sslmode", "PGSSLMODE").empty() || !value("service", "PGSERVICE").empty()) return "";
  const std::string address = value("hostaddr", "PGHOSTADDR");
  return IsElsewhere(address.empty() ? value("host", "PGHOST") : address) ? "require" : "";
}

}  // namespace narthex::metadata
