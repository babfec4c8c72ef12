// JSON Web Tokens of a foreign issuer (RFC 7519, OpenID Connect): signature, issuer, audience, time. Pure
// functions; input is untrusted. Signatures are checked by libcjose, JSON is read by protobuf.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace narthex::auth {

// The keys that an issuer signs with, by key id (RFC 7517). Immutable; thread-safe.
class KeySet {
 public:
  struct Key;

  // A JWKS document. Keys that are not for signatures, of other kinds than RSA and P-256, or of sizes that
  // are not offered (RSA of 2,048 to 8,192 bits) are left out; symmetric ones always. INVALID_ARGUMENT
  // (JWKS_INVALID): it is none, is larger than limits::kJwksMaxBytes, or holds no key that serves.
  static absl::StatusOr<KeySet> Parse(absl::string_view json);

  // Null: there is no such key. A token without key id means the only key.
  const Key* Find(const std::string& key_id) const;
  size_t size() const { return keys_.size(); }

 private:
  std::map<std::string, std::shared_ptr<const Key>> keys_;
};

struct JwtRules {
  std::string issuer;    // `iss`, letter by letter
  std::string audience;  // must be among `aud`
  std::string user_claim = "sub";
  absl::Duration leeway = absl::Seconds(60);  // between the clocks
};

struct JwtClaims {
  std::string user;  // of the claim that the rules name
  std::string display_name;
  absl::Time expire_time;  // with the leeway
};

// Whether `token` has the form of one; ours have not.
bool LooksLikeJwt(absl::string_view token);

// The key id that an unverified token names; "" if none or not a token.
std::string KeyIdOf(absl::string_view token);

// UNAUTHENTICATED (UNAUTHENTICATED): longer than limits::kJwtMaxBytes, not signed by one of `keys` with
// RS256, PS256 or ES256, of another issuer, for another audience, without an end, at its end, not yet begun,
// or without the claim. The text says which, and repeats nothing of the token. Only what is signed is looked
// at.
absl::StatusOr<JwtClaims> VerifyJwt(absl::string_view token, const KeySet& keys, const JwtRules& rules,
                                    absl::Time now);

}  // namespace narthex::auth
