#include "server/auth/jwt.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include <cjose/cjose.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include "base/error.h"
#include "base/limits_server.h"

namespace narthex::auth {

struct KeySet::Key {
  explicit Key(cjose_jwk_t* taken) : jwk(taken) {}
  ~Key() { cjose_jwk_release(jwk); }
  Key(const Key&) = delete;
  Key& operator=(const Key&) = delete;

  cjose_jwk_t* const jwk;
  bool is_rsa = false;
  std::string algorithm;  // the only one that it may be used with; "": those of its kind
};

namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

constexpr size_t kRsaBitsMin = 2048;
constexpr size_t kRsaBitsMax =
    8192;  // fixed: the largest that issuers have; checking one signature takes a millisecond

struct ReleaseJws {
  void operator()(cjose_jws_t* jws) const { cjose_jws_release(jws); }
};
using Jws = std::unique_ptr<cjose_jws_t, ReleaseJws>;

absl::Status Refuse(absl::string_view why) {
  return Error(absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED",
               absl::StrCat("the token is not valid: ", why));
}

absl::Status NoKeys(absl::string_view why) { return InvalidArgument("JWKS_INVALID", why); }

bool ParseJson(absl::string_view json, Struct* to) {
  return google::protobuf::util::JsonStringToMessage(std::string(json), to).ok();
}

std::string Text(const Struct& from, const std::string& name) {
  const auto it = from.fields().find(name);
  return it == from.fields().end() ? "" : it->second.string_value();
}

// Whether `text` is base64url without padding (RFC 7515 2). libcjose ends the process at some that are not:
// "a=".
bool IsBase64Url(absl::string_view text) {
  return text.size() % 4 != 1 && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
         });
}

// Null: not a key that serves.
std::shared_ptr<const KeySet::Key> MakeKey(const Struct& from) {
  const std::string kind = Text(from, "kty"), use = Text(from, "use");
  if ((kind != "RSA" && kind != "EC") || (!use.empty() && use != "sig")) return nullptr;
  // What signs has no place in a set of public keys; only what checks is taken.
  Struct open;
  for (const char* name : {"kty", "n", "e", "crv", "x", "y"}) {
    std::string value = Text(from, name);
    if (absl::string_view(name) != "kty" && absl::string_view(name) != "crv") {
      value.resize(value.find_last_not_of('=') + 1);  // some issuers pad
      if (!IsBase64Url(value)) return nullptr;
    }
    if (!value.empty()) (*open.mutable_fields())[name].set_string_value(value);
  }
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(open, &json).ok()) return nullptr;
  cjose_err error;
  cjose_jwk_t* const jwk = cjose_jwk_import(json.data(), json.size(), &error);
  if (jwk == nullptr) return nullptr;
  auto key = std::make_shared<KeySet::Key>(jwk);
  key->is_rsa = cjose_jwk_get_kty(jwk, &error) == CJOSE_JWK_KTY_RSA;
  key->algorithm = Text(from, "alg");
  const size_t bits = cjose_jwk_get_keysize(jwk, &error);
  const bool serves = key->is_rsa ? bits >= kRsaBitsMin && bits <= kRsaBitsMax
                                  : cjose_jwk_EC_get_curve(jwk, &error) == CJOSE_JWK_EC_P_256;
  return serves ? key : nullptr;
}

// The kind of key decides what a signature may be, never the token alone.
bool Fits(const KeySet::Key& key, const std::string& algorithm) {
  const bool of_kind = key.is_rsa ? algorithm == "RS256" || algorithm == "PS256" : algorithm == "ES256";
  return of_kind && (key.algorithm.empty() || key.algorithm == algorithm);
}

std::string HeaderText(cjose_header_t* header, const char* name) {
  cjose_err error;
  const char* const value = cjose_header_get(header, name, &error);
  return value == nullptr ? "" : value;
}

bool HeaderHas(cjose_header_t* header, const char* name) {
  cjose_err error;
  char* const value = cjose_header_get_raw(header, name, &error);
  if (value == nullptr) return false;
  cjose_get_dealloc()(value);
  return true;
}

Jws ParseJws(absl::string_view token) {
  cjose_err error;
  if (!LooksLikeJwt(token)) return nullptr;
  for (const absl::string_view part : absl::StrSplit(token, '.')) {
    if (!IsBase64Url(part)) return nullptr;
  }
  return Jws(cjose_jws_import(token.data(), token.size(), &error));
}

// `aud` is a text or a list of them.
bool IsFor(const Struct& claims, const std::string& audience) {
  const auto it = claims.fields().find("aud");
  if (it == claims.fields().end()) return false;
  if (it->second.kind_case() == Value::kStringValue) return it->second.string_value() == audience;
  const auto& values = it->second.list_value().values();
  return std::any_of(values.begin(), values.end(),
                     [&](const Value& one) { return one.string_value() == audience; });
}

// nullopt: no such claim, or not a time.
std::optional<absl::Time> TimeOf(const Struct& claims, const std::string& name) {
  const auto it = claims.fields().find(name);
  if (it == claims.fields().end() || it->second.kind_case() != Value::kNumberValue) return std::nullopt;
  const double seconds = it->second.number_value();
  if (!(seconds >= 0 && seconds < 1e11)) return std::nullopt;
  return absl::UnixEpoch() + absl::Seconds(seconds);
}

absl::StatusOr<JwtClaims> CheckClaims(const Struct& claims, const JwtRules& rules, absl::Time now) {
  if (Text(claims, "iss") != rules.issuer) return Refuse("it is of another issuer");
  if (!IsFor(claims, rules.audience)) return Refuse("it is for another audience");
  const auto end = TimeOf(claims, "exp");
  if (!end) return Refuse("it has no end");
  if (now >= *end + rules.leeway) return Refuse("its time is over; get a new one");
  if (claims.fields().contains("nbf")) {
    const auto begin = TimeOf(claims, "nbf");
    if (!begin || now < *begin - rules.leeway) return Refuse("its time has not come; are the clocks right?");
  }
  JwtClaims out{Text(claims, rules.user_claim), Text(claims, "name"), *end + rules.leeway};
  if (out.user.empty()) return Refuse("it does not say who it is for");
  return out;
}

}  // namespace

absl::StatusOr<KeySet> KeySet::Parse(absl::string_view json) {
  Struct document;
  if (json.size() > limits::kJwksMaxBytes || !ParseJson(json, &document))
    return NoKeys("not a JSON document with keys, or too large");
  KeySet set;
  const auto keys = document.fields().find("keys");
  if (keys == document.fields().end()) return NoKeys("it has no member `keys`");
  for (const Value& value : keys->second.list_value().values()) {
    const Struct& from = value.struct_value();
    if (auto key = MakeKey(from)) set.keys_.emplace(Text(from, "kid"), std::move(key));
  }
  if (set.keys_.empty()) return NoKeys("it holds no RSA or P-256 key for signatures");
  return set;
}

const KeySet::Key* KeySet::Find(const std::string& key_id) const {
  if (key_id.empty()) return keys_.size() == 1 ? keys_.begin()->second.get() : nullptr;
  const auto it = keys_.find(key_id);
  return it == keys_.end() ? nullptr : it->second.get();
}

bool LooksLikeJwt(absl::string_view token) {
  return std::count(token.begin(), token.end(), '.') == 2 && token.size() <= limits::kJwtMaxBytes;
}

std::string KeyIdOf(absl::string_view token) {
  const Jws jws = ParseJws(token);
  return jws ? HeaderText(cjose_jws_get_protected(jws.get()), CJOSE_HDR_KID) : "";
}

absl::StatusOr<JwtClaims> VerifyJwt(absl::string_view token, const KeySet& keys, const JwtRules& rules,
                                    absl::Time now) {
  const Jws jws = ParseJws(token);
  if (!jws) return Refuse("it is not a signed JSON Web Token");
  cjose_header_t* const header = cjose_jws_get_protected(jws.get());
  // Extensions that must be understood are not.
  if (HeaderHas(header, "crit")) return Refuse("it asks for what is not understood");
  const KeySet::Key* key = keys.Find(HeaderText(header, CJOSE_HDR_KID));
  if (key == nullptr) return Refuse("its key is not one of the issuer's");
  cjose_err error;
  if (!Fits(*key, HeaderText(header, CJOSE_HDR_ALG))) return Refuse("its algorithm is not one of its key");
  if (!cjose_jws_verify(jws.get(), key->jwk, &error)) return Refuse("its signature does not fit");
  uint8_t* text = nullptr;
  size_t size = 0;
  Struct claims;
  if (!cjose_jws_get_plaintext(jws.get(), &text, &size, &error) ||
      !ParseJson({reinterpret_cast<const char*>(text), size}, &claims)) {
    return Refuse("it does not hold claims");
  }
  return CheckClaims(claims, rules, now);
}

}  // namespace narthex::auth
