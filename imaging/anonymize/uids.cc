#include "imaging/anonymize/uids.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/digest.h"
#include "base/ids.h"
#include "base/limits.h"
#include "imaging/anonymize/profile.h"

namespace narthex::anonymize {
namespace {

std::string UuidUid(std::string bytes, int version) {
  bytes[6] = static_cast<char>((bytes[6] & 0x0f) | version << 4);
  bytes[8] = static_cast<char>((bytes[8] & 0x3f) | 0x80);
  return absl::StrCat("2.25.", Decimal128(bytes));
}

}  // namespace

std::string Decimal128(absl::string_view bytes) {
  unsigned __int128 value = 0;
  for (size_t i = 0; i < 16; ++i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  std::string digits;
  do {
    digits.push_back(static_cast<char>('0' + static_cast<int>(value % 10)));
    value /= 10;
  } while (value != 0);
  std::reverse(digits.begin(), digits.end());
  return digits;
}

std::string HashUid(absl::string_view uid) { return UuidUid(Sha1(uid).substr(0, 16), 5); }

std::string RandomUid() { return UuidUid(RandomBytes(16), 4); }

std::string SeededUid(absl::string_view key, absl::string_view seed) {
  return UuidUid(Hmac(key, absl::StrCat("new:", seed)).substr(0, 16), 4);
}

std::string Hmac(absl::string_view key, absl::string_view message) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(message.data()), message.size(), out, &size);
  return std::string(reinterpret_cast<const char*>(out), size);
}

std::string MapUidWithPrefix(absl::string_view key, absl::string_view prefix, absl::string_view uid) {
  std::string digits = Decimal128(Hmac(key, absl::StrCat("uid:", uid)));
  const size_t room = limits::kUidMaxBytes - std::min(limits::kUidMaxBytes, prefix.size() + 1);
  if (digits.size() > room) digits.resize(room);
  return absl::StrCat(prefix, absl::EndsWith(prefix, ".") ? "" : ".", digits);
}

std::string MapUid(absl::string_view secret, absl::string_view uid) {
  // UIDs that the standard defines (SOP classes, transfer syntaxes, well-known frames) identify nobody.
  if (uid.empty() || absl::StartsWith(uid, "1.2.840.10008.")) return std::string(uid);
  return absl::StrCat("2.25.", Decimal128(Hmac(secret, absl::StrCat("uid:", uid))));
}

int DateShiftDays(absl::string_view secret, absl::string_view patient_id) {
  const std::string mac = Hmac(secret, absl::StrCat("date:", patient_id));
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(mac[i]);
  constexpr uint32_t kDaysInTenYears = 3652;
  return 1 + static_cast<int>(value % kDaysInTenYears);
}

}  // namespace narthex::anonymize
