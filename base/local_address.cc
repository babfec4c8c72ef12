#include "base/local_address.h"

#include "absl/strings/match.h"

namespace narthex {

bool IsLocalHost(const std::string& host) {
  if (host == "localhost" || host == "::1" || host == "[::1]") return true;
  // "127.evil.example" is a name.
  return absl::StartsWith(host, "127.") && host.find_first_not_of("0123456789.") == std::string::npos;
}

bool IsLocalAddress(const std::string& address) {
  return absl::StartsWith(address, "unix:") || IsLocalHost(address.substr(0, address.rfind(':')));
}

}  // namespace narthex
