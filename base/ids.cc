#include "base/ids.h"

#include <cstdint>
#include <cstdlib>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include <openssl/rand.h>

namespace narthex {

std::string RandomBytes(int bytes) {
  std::string random(bytes, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(random.data()), bytes) != 1) std::abort();
  return random;
}

std::string NewUuid() {
  std::string bits = RandomBytes(16);
  bits[6] = static_cast<char>((bits[6] & 0x0F) | 0x40);
  bits[8] = static_cast<char>((bits[8] & 0x3F) | 0x80);
  const std::string hex = absl::BytesToHexString(bits);
  return absl::StrCat(hex.substr(0, 8), "-", hex.substr(8, 4), "-", hex.substr(12, 4), "-", hex.substr(16, 4),
                      "-", hex.substr(20));
}

std::string NewRandomId(int bytes) {
  static constexpr char kAlphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
  std::string id;
  uint32_t bits = 0;
  int count = 0;
  for (unsigned char byte : RandomBytes(bytes)) {
    bits = bits << 8 | byte;
    for (count += 8; count >= 5; count -= 5) id.push_back(kAlphabet[(bits >> (count - 5)) & 31]);
  }
  if (count > 0) id.push_back(kAlphabet[(bits << (5 - count)) & 31]);
  return id;
}

}  // namespace narthex
