// The digest of an object by an upload's algorithm. Thread-compatible.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

#include "base/digest.h"
#include "narthex/v1/upload_service.pb.h"

namespace narthex::client {

class ObjectHasher {
 public:
  explicit ObjectHasher(v1::DigestAlgorithm algorithm)
      : sha256_wanted_(algorithm == v1::DIGEST_ALGORITHM_SHA256), sha256_(CryptoHasher::Sha256()) {}

  void Update(absl::string_view data) {
    if (sha256_wanted_) {
      sha256_.Update(data);
    } else {
      xxh3_.Update(data);
    }
  }
  // The digest in raw bytes; the hasher starts anew.
  std::string Finish() {
    if (sha256_wanted_) return sha256_.Finish();
    std::string digest = xxh3_.Finish();
    xxh3_.Reset();
    return digest;
  }
  void Reset() { Finish(); }

 private:
  const bool sha256_wanted_;
  Xxh3Hasher xxh3_;
  CryptoHasher sha256_;
};

}  // namespace narthex::client
