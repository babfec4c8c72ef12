// Digests of bytes, whole or streamed. XXH3-128 identifies content on the hot path; SHA-256 and MD5 are
// computed while archiving. Thread-compatible.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace narthex {

// XXH3-128, canonical (big endian) form: 16 bytes.
class Xxh3Hasher {
 public:
  Xxh3Hasher();
  ~Xxh3Hasher();
  Xxh3Hasher(Xxh3Hasher&&) noexcept;
  Xxh3Hasher& operator=(Xxh3Hasher&&) noexcept;

  void Update(absl::string_view data);
  // The digest of all that was added so far: 16 bytes. May be called again after more updates.
  std::string Finish() const;
  void Reset();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The XXH3-128 of `data`: 16 bytes.
std::string Xxh3(absl::string_view data);

// A streaming digest of OpenSSL.
class CryptoHasher {
 public:
  static CryptoHasher Sha256();
  static CryptoHasher Md5();
  static CryptoHasher Sha1();
  ~CryptoHasher();
  CryptoHasher(CryptoHasher&&) noexcept;
  CryptoHasher& operator=(CryptoHasher&&) noexcept;

  void Update(absl::string_view data);
  // The digest in raw bytes; the hasher starts anew.
  std::string Finish();

 private:
  struct State;
  explicit CryptoHasher(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Raw digests of `data`.
std::string Sha256(absl::string_view data);
std::string Md5(absl::string_view data);
std::string Sha1(absl::string_view data);

}  // namespace narthex
