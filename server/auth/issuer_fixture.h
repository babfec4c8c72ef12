// An issuer of tokens for tests: makes keys, publishes and signs with OpenSSL, so that what checks is not
// what made it.
#pragma once

#include <algorithm>
#include <memory>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

namespace narthex::auth {

inline std::string Base64(absl::string_view bytes) {
  std::string out = absl::WebSafeBase64Escape(bytes);
  while (!out.empty() && out.back() == '=') out.pop_back();
  return out;
}

// A key pair.
struct IssuerKey {
  explicit IssuerKey(const char* kind, const std::string& id, int bits = 2048) : id(id), kind(kind) {
    key.reset(kind == std::string("RSA")
                  ? EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", static_cast<size_t>(bits))
                  : EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"),
              EVP_PKEY_free);
  }

  std::string Number(const char* name) const {
    BIGNUM* number = nullptr;
    EVP_PKEY_get_bn_param(key.get(), name, &number);
    std::string bytes(static_cast<size_t>(BN_num_bytes(number)), '\0');
    BN_bn2bin(number, reinterpret_cast<unsigned char*>(bytes.data()));
    BN_free(number);
    return std::string(kind == "EC" ? 32 - std::min<size_t>(32, bytes.size()) : 0, '\0') + bytes;
  }

  std::string Jwk(const std::string& more = "") const {
    return kind == "RSA"
               ? absl::StrCat(R"({"kty":"RSA","kid":")", id, R"(","n":")", Base64(Number("n")), R"(","e":")",
                              Base64(Number("e")), "\"", more, "}")
               : absl::StrCat(R"({"kty":"EC","crv":"P-256","kid":")", id, R"(","x":")", Base64(Number("qx")),
                              R"(","y":")", Base64(Number("qy")), "\"", more, "}");
  }

  std::string Sign(const std::string& text, bool pss) const {
    EVP_MD_CTX* context = EVP_MD_CTX_new();
    EVP_PKEY_CTX* parameters = nullptr;
    EVP_DigestSignInit(context, &parameters, EVP_sha256(), nullptr, key.get());
    if (pss) {
      EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING);
      EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_DIGEST);
    }
    size_t size = 0;
    const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
    EVP_DigestSign(context, nullptr, &size, bytes, text.size());
    std::string signature(size, '\0');
    EVP_DigestSign(context, reinterpret_cast<unsigned char*>(signature.data()), &size, bytes, text.size());
    EVP_MD_CTX_free(context);
    signature.resize(size);
    return kind == "RSA" ? signature : Raw(signature);
  }

  // The two numbers of a DER signature, 32 bytes each.
  static std::string Raw(const std::string& der) {
    std::string out;
    for (size_t at = 2; at + 2 <= der.size();) {
      const size_t length = static_cast<unsigned char>(der[at + 1]);
      std::string number = der.substr(at + 2, length);
      if (number.size() > 32) number = number.substr(number.size() - 32);
      out += std::string(32 - number.size(), '\0') + number;
      at += 2 + length;
    }
    return out;
  }

  // `header`: instead of the one that fits; a header of PS256 is signed so.
  std::string Token(const std::string& claims, const std::string& header = "") const {
    const std::string algorithm = kind == "RSA" ? "RS256" : "ES256";
    const std::string text = absl::StrCat(
        Base64(header.empty() ? absl::StrCat(R"({"alg":")", algorithm, R"(","kid":")", id, "\"}") : header),
        ".", Base64(claims));
    return absl::StrCat(text, ".", Base64(Sign(text, absl::StrContains(header, "PS256"))));
  }

  std::string id, kind;
  std::shared_ptr<EVP_PKEY> key;
};

}  // namespace narthex::auth
