// Foreign tokens: what is taken, and every known way to be let in with what is not.
#include "server/auth/jwt.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/error.h"
#include "server/auth/issuer_fixture.h"

namespace narthex::auth {
namespace {

class JwtTest : public testing::Test {
 protected:
  static std::string Claims(const std::string& more = "", const std::string& exp = "2000") {
    return absl::StrCat(R"({"iss":"https://idp","aud":"narthex","sub":"ann","exp":)", exp, more, "}");
  }
  static const IssuerKey& Rsa() {
    static const IssuerKey* const pair = new IssuerKey("RSA", "r1");
    return *pair;
  }
  static const IssuerKey& Ec() {
    static const IssuerKey* const pair = new IssuerKey("EC", "e1");
    return *pair;
  }
  static KeySet Keys(const std::string& rsa_more = "") {
    auto keys = KeySet::Parse(absl::StrCat(R"({"keys":[)", Rsa().Jwk(rsa_more), ",", Ec().Jwk(), "]}"));
    EXPECT_TRUE(keys.ok()) << keys.status();
    return *std::move(keys);
  }
  absl::StatusOr<JwtClaims> Verify(const std::string& token, int64_t now = 1000) {
    return VerifyJwt(token, keys_, rules_, absl::FromUnixSeconds(now));
  }
  void ExpectRefused(const std::string& token, const char* what, int64_t now = 1000) {
    const auto claims = Verify(token, now);
    EXPECT_EQ(claims.status().code(), absl::StatusCode::kUnauthenticated) << what;
    EXPECT_EQ(ErrorReason(claims.status()), "UNAUTHENTICATED") << what;
    const std::string part = token.substr(0, token.find('.'));
    EXPECT_TRUE(part.empty() || !absl::StrContains(claims.status().message(), part)) << what;
  }

  KeySet keys_ = Keys();
  JwtRules rules_{"https://idp", "narthex"};
};

TEST_F(JwtTest, GoodTokensOfBothKindsAreTaken) {
  for (const IssuerKey* pair : {&Rsa(), &Ec()}) {
    const auto claims = Verify(pair->Token(Claims(R"(,"name":"Ann")")));
    ASSERT_TRUE(claims.ok()) << claims.status();
    EXPECT_EQ(claims->user, "ann");
    EXPECT_EQ(claims->display_name, "Ann");
    EXPECT_EQ(claims->expire_time, absl::FromUnixSeconds(2060));
  }
  EXPECT_TRUE(Verify(Rsa().Token(Claims(), R"({"alg":"PS256","kid":"r1"})")).ok());
  EXPECT_TRUE(
      Verify(Rsa().Token(R"({"iss":"https://idp","aud":["x","narthex"],"sub":"ann","exp":2000})")).ok());
}

TEST_F(JwtTest, AlgorithmConfusionIsRefused) {
  const std::string claims = Claims();
  ExpectRefused(absl::StrCat(Base64(R"({"alg":"none","kid":"r1"})"), ".", Base64(claims), "."), "none");
  ExpectRefused(absl::StrCat(Base64(R"({"alg":"none"})"), ".", Base64(claims), ".", Base64("x")),
                "none, no key");
  // The public key as the secret of an HMAC.
  for (const std::string& secret : {Rsa().Jwk(), Rsa().Number("n")}) {
    const std::string text = absl::StrCat(Base64(R"({"alg":"HS256","kid":"r1"})"), ".", Base64(claims));
    unsigned char mac[32];
    unsigned length = 0;
    HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
         reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac, &length);
    ExpectRefused(absl::StrCat(text, ".", Base64({reinterpret_cast<char*>(mac), length})), "HS256");
  }
  ExpectRefused(Rsa().Token(claims, R"({"alg":"ES256","kid":"r1"})"), "ES256 with an RSA key");
  ExpectRefused(Ec().Token(claims, R"({"alg":"RS256","kid":"e1"})"), "RS256 with an EC key");
  ExpectRefused(Rsa().Token(claims, R"({"alg":"RS512","kid":"r1"})"), "an algorithm that is not offered");
  keys_ = Keys(R"(,"alg":"PS256")");
  ExpectRefused(Rsa().Token(claims), "RS256 with a key for PS256");
}

TEST_F(JwtTest, KeysMustBeKnown) {
  ExpectRefused(Rsa().Token(Claims(), R"({"alg":"RS256","kid":"r2"})"), "unknown key id");
  ExpectRefused(Rsa().Token(Claims(), R"({"alg":"RS256"})"), "no key id where there are two keys");
  ExpectRefused(IssuerKey("RSA", "r1").Token(Claims()), "another key of that id");
  ExpectRefused(
      IssuerKey("RSA", "r1").Token(Claims(), absl::StrCat(R"({"alg":"RS256","jwk":)", Rsa().Jwk(), "}")),
      "a key that the token brings along");
  ExpectRefused(Rsa().Token(Claims(), R"({"alg":"RS256","kid":"r1","crit":["x"]})"), "an extension");
}

TEST_F(JwtTest, ClaimsAreChecked) {
  ExpectRefused(Rsa().Token(R"({"iss":"https://other","aud":"narthex","sub":"a","exp":2000})"), "issuer");
  ExpectRefused(Rsa().Token(R"({"iss":"https://idp","aud":"other","sub":"a","exp":2000})"), "audience");
  ExpectRefused(Rsa().Token(R"({"iss":"https://idp","aud":["other"],"sub":"a","exp":2000})"), "audiences");
  ExpectRefused(Rsa().Token(R"({"iss":"https://idp","sub":"a","exp":2000})"), "no audience");
  ExpectRefused(Rsa().Token(R"({"iss":"https://idp","aud":"narthex","sub":"a"})"), "no end");
  ExpectRefused(Rsa().Token(Claims("", "\"2000\"")), "an end that is text");
  ExpectRefused(Rsa().Token(Claims("", "-5")), "an end before all time");
  ExpectRefused(Rsa().Token(Claims("", "1e300")), "an end behind all time");
  ExpectRefused(Rsa().Token(R"({"iss":"https://idp","aud":"narthex","exp":2000})"), "no user");
  ExpectRefused(Rsa().Token(R"({"iss":"https://idp","aud":"narthex","sub":7,"exp":2000})"),
                "a user that is no text");
  ExpectRefused(Rsa().Token(Claims(R"(,"nbf":1200)")), "not yet");
  EXPECT_TRUE(Verify(Rsa().Token(Claims(R"(,"nbf":1050)"))).ok()) << "clocks differ";
  const std::string token = Rsa().Token(Claims());
  EXPECT_TRUE(Verify(token, 2059).ok());
  ExpectRefused(token, "expired", 2060);
}

// libcjose ended the process.
TEST_F(JwtTest, PaddingDoesNoHarm) {
  for (const char* token : {"a=..", "aa=..", "aaaaa..", ".a=.", "..a=", "a=.a=.a="})
    ExpectRefused(token, token);
  const std::vector<std::string> parts = absl::StrSplit(Rsa().Token(Claims()), '.');
  for (const char* end : {"=", "==", "a=", "+", "/", " "}) {
    ExpectRefused(absl::StrCat(parts[0], end, ".", parts[1], ".", parts[2]), end);
    ExpectRefused(absl::StrCat(parts[0], ".", parts[1], end, ".", parts[2]), end);
    ExpectRefused(absl::StrCat(parts[0], ".", parts[1], ".", parts[2], end), end);
  }
  for (const char* key : {R"({"kty":"RSA","n":"a=","e":"AQAB"})", R"({"kty":"RSA","n":"AQAB","e":"a="})",
                          R"({"kty":"EC","crv":"P-256","x":"a=","y":"b="})"}) {
    EXPECT_EQ(ErrorReason(KeySet::Parse(absl::StrCat(R"({"keys":[)", key, "]}")).status()), "JWKS_INVALID")
        << key;
  }
}

TEST_F(JwtTest, BrokenTokensAreRefused) {
  const std::string token = Rsa().Token(Claims());
  const std::vector<std::string> parts = absl::StrSplit(token, '.');
  ExpectRefused("", "nothing");
  ExpectRefused("..", "dots");
  ExpectRefused(token + ".", "four parts");
  ExpectRefused(absl::StrCat(parts[0], ".", Base64(Claims(R"(,"x":1)")), ".", parts[2]), "other claims");
  ExpectRefused(absl::StrCat(parts[0], ".", parts[1], "."), "no signature");
  ExpectRefused(absl::StrCat(parts[0], ".", parts[1], ".", Base64(std::string(256, 'x'))),
                "a made-up signature");
  ExpectRefused(absl::StrCat(parts[0], ".", parts[1], ".", std::string(40000, 'A')), "too long");
  const std::vector<std::string> ec = absl::StrSplit(Ec().Token(Claims()), '.');
  ExpectRefused(absl::StrCat(ec[0], ".", ec[1], ".", Base64(std::string(64, '\0'))), "zeros");
  for (size_t i = 0; i < token.size(); i += 7) {
    std::string changed = token;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    if (changed == token) continue;
    EXPECT_FALSE(Verify(changed).ok() && i < token.rfind('.')) << i;
  }
}

TEST_F(JwtTest, WeakAndForeignKeysAreLeftOut) {
  for (const std::string& document :
       {std::string(""), std::string("{}"), std::string(R"({"keys":[]})"),
        std::string(R"({"keys":[{"kty":"oct","k":"AAAA"}]})"),
        absl::StrCat(R"({"keys":[)", IssuerKey("RSA", "weak", 1024).Jwk(), "]}"),
        absl::StrCat(R"({"keys":[)", Rsa().Jwk(R"(,"use":"enc")"), "]}"), std::string(2 << 20, ' ')}) {
    EXPECT_EQ(ErrorReason(KeySet::Parse(document).status()), "JWKS_INVALID") << document.substr(0, 80);
  }
}

}  // namespace
}  // namespace narthex::auth
