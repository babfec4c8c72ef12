#include "server/auth/failure_limiter.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include <arpa/inet.h>

#include "base/limits_server.h"

namespace narthex::auth {
namespace {

absl::Duration GivenBack() { return absl::Seconds(limits::kAuthenticationFailureSeconds.get()); }

}  // namespace

absl::Time FailureLimiter::FullAt(absl::string_view key) const {
  const auto it = full_at_.find(key);
  return it == full_at_.end() ? absl::InfinitePast() : it->second;
}

bool FailureLimiter::MayTry(absl::string_view key) const {
  absl::MutexLock lock(&mutex_);
  return FullAt(key) <= clock_.Now() + GivenBack() * (limits::kAuthenticationFailuresMax - 1);
}

void FailureLimiter::Fail(absl::string_view key) {
  const absl::Time now = clock_.Now();
  absl::MutexLock lock(&mutex_);
  if (full_at_.size() >= limits::kAuthenticationKeysMax && !full_at_.contains(key)) {
    absl::erase_if(full_at_, [&](const auto& entry) { return entry.second <= now; });
    // More attackers than we keep count of: those that failed least are forgiven.
    if (full_at_.size() >= limits::kAuthenticationKeysMax) {
      const absl::Time soon = now + GivenBack() * 2;
      absl::erase_if(full_at_, [&](const auto& entry) { return entry.second <= soon; });
    }
    if (full_at_.size() >= limits::kAuthenticationKeysMax) full_at_.clear();
  }
  const absl::Time limit = now + GivenBack() * limits::kAuthenticationFailuresMax.get();
  full_at_[std::string(key)] = std::min(limit, std::max(now, FullAt(key)) + GivenBack());
}

size_t FailureLimiter::size() const {
  absl::MutexLock lock(&mutex_);
  return full_at_.size();
}

std::string AddressKey(absl::string_view peer) {
  const size_t port = peer.rfind(':');
  if (absl::ConsumePrefix(&peer, "ipv4:") && port != absl::string_view::npos)
    return std::string(peer.substr(0, peer.rfind(':')));
  if (!absl::ConsumePrefix(&peer, "ipv6:")) return std::string(peer);
  std::string address(peer.substr(0, peer.rfind(':')));
  address = absl::StrReplaceAll(address, {{"[", ""}, {"]", ""}, {"%5B", ""}, {"%5D", ""}});
  unsigned char bytes[16];
  if (inet_pton(AF_INET6, address.c_str(), bytes) != 1) return address;
  return absl::StrCat("6:", absl::BytesToHexString(absl::string_view(reinterpret_cast<char*>(bytes), 8)));
}

}  // namespace narthex::auth
