#include "server/auth/oidc.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "base/error.h"
#include "base/limits_server.h"
#include "base/log.h"
#include "base/status.h"

namespace narthex::auth {
namespace {

absl::Status Unavailable(absl::string_view why) {
  return Error(absl::StatusCode::kUnavailable, "JWKS_UNAVAILABLE", why);
}

}  // namespace

bool Oidc::MustRead(const std::string& key_id, const std::string& stamp, absl::Time now) const {
  if (read_at_ == absl::InfinitePast() || stamp != stamp_) return true;
  const bool known = keys_ && keys_->Find(key_id) != nullptr;
  return now - read_at_ >= absl::Seconds(known ? limits::kJwksSeconds.get() : limits::kJwksMissSeconds.get());
}

absl::StatusOr<Oidc::Keys> Oidc::KeysFor(const std::string& key_id) {
  const std::string stamp = source_->Stamp();
  {
    absl::MutexLock lock(&mutex_);
    // Who finds their key does not wait for a read that is under way.
    if (reading_ && keys_ && keys_->Find(key_id) != nullptr) return keys_;
    mutex_.Await(absl::Condition(this, &Oidc::IsRead));
    if (!MustRead(key_id, stamp, clock_.Now())) {
      if (keys_) return keys_;
      return Unavailable("the keys of the token issuer could not be read a moment ago; try again later");
    }
    reading_ = true;
  }
  auto text = source_->Read();
  auto parsed = text.ok() ? KeySet::Parse(*text) : text.status();
  absl::MutexLock lock(&mutex_);
  reading_ = false;
  stamp_ = stamp;
  read_at_ = clock_.Now();
  if (parsed.ok()) {
    keys_ = std::make_shared<const KeySet>(*std::move(parsed));
    return keys_;
  }
  Log(LogLevel::kWarning, "the keys of the token issuer are not read",
      {{"error", parsed.status()}, {"known_keys", keys_ ? keys_->size() : 0}});
  if (keys_) return keys_;
  if (absl::IsUnavailable(parsed.status())) return parsed.status();
  return Unavailable(
      absl::StrCat("the keys of the token issuer (--oidc-jwks) are none: ", parsed.status().message()));
}

absl::StatusOr<JwtClaims> Oidc::Verify(absl::string_view token) {
  NX_ASSIGN_OR_RETURN(const Keys keys, KeysFor(KeyIdOf(token)));
  return VerifyJwt(token, *keys, options_.rules, clock_.Now());
}

absl::Status Oidc::Load() { return KeysFor("").status(); }

}  // namespace narthex::auth
