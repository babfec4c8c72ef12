// What comes before anybody is known: tokens of a foreign issuer, and the issuer's keys. Only what one of the
// keys signed is taken, and what is taken names a user and has not ended. The first byte chooses what the
// rest is: a token, key sets, a token's header, or its claims; the latter two are signed.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "base/error.h"
#include "server/auth/issuer_fixture.h"
#include "server/auth/jwt.h"

namespace {

using narthex::auth::IssuerKey;
using narthex::auth::KeySet;

constexpr char kClaims[] = R"({"iss":"https://idp","aud":"narthex","sub":"ann","exp":2000})";
const absl::Time kNow = absl::FromUnixSeconds(1000);

void Require(bool holds) {
  if (!holds) std::abort();
}

const IssuerKey& Key() {
  static const auto* const key = new IssuerKey("EC", "e1");
  return *key;
}

const KeySet& Keys() {
  static const auto* const keys = [] {
    auto made = KeySet::Parse(absl::StrCat(R"({"keys":[)", Key().Jwk(), "]}"));
    Require(made.ok());
    return new KeySet(*std::move(made));
  }();
  return *keys;
}

// Whether it is taken.
bool Try(absl::string_view token) {
  const bool looks = narthex::auth::LooksLikeJwt(token);
  (void)narthex::auth::KeyIdOf(token);
  const auto claims = narthex::auth::VerifyJwt(token, Keys(), {"https://idp", "narthex"}, kNow);
  if (!claims.ok()) {
    Require(narthex::ErrorReason(claims.status()) == "UNAUTHENTICATED");
    return false;
  }
  Require(looks && !claims->user.empty() && claims->expire_time > kNow);
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      Require(!Try(rest));
      break;
    case 1: {
      const auto keys = KeySet::Parse(rest);
      Require(keys.ok() ? keys->size() > 0 : narthex::ErrorReason(keys.status()) == "JWKS_INVALID");
      break;
    }
    case 2:
      if (!rest.empty()) Try(Key().Token(kClaims, rest));
      break;
    default:
      const std::string token = Key().Token(rest);
      Try(token);
      // Another token's signature.
      const std::string other = Key().Token(kClaims);
      if (rest != kClaims) Require(!Try(token.substr(0, token.rfind('.')) + other.substr(other.rfind('.'))));
  }
  return 0;
}
