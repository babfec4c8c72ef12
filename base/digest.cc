#include "base/digest.h"

#include <cstdlib>
#include <utility>

#include <openssl/evp.h>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // the same functions with the widest vectors that this CPU has
#endif

namespace narthex {

struct Xxh3Hasher::State {
  State() : xxh(XXH3_createState()) { XXH3_128bits_reset(xxh); }
  ~State() { XXH3_freeState(xxh); }
  XXH3_state_t* xxh;
};

namespace {

std::string Canonical(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  return std::string(reinterpret_cast<const char*>(canonical.digest), sizeof canonical.digest);
}

}  // namespace

Xxh3Hasher::Xxh3Hasher() : state_(std::make_unique<State>()) {}
Xxh3Hasher::~Xxh3Hasher() = default;
Xxh3Hasher::Xxh3Hasher(Xxh3Hasher&&) noexcept = default;
Xxh3Hasher& Xxh3Hasher::operator=(Xxh3Hasher&&) noexcept = default;

void Xxh3Hasher::Update(absl::string_view data) {
  XXH3_128bits_update(state_->xxh, data.data(), data.size());
}
std::string Xxh3Hasher::Finish() const { return Canonical(XXH3_128bits_digest(state_->xxh)); }
void Xxh3Hasher::Reset() { XXH3_128bits_reset(state_->xxh); }

std::string Xxh3(absl::string_view data) { return Canonical(XXH3_128bits(data.data(), data.size())); }

struct CryptoHasher::State {
  explicit State(const EVP_MD* md) : context(EVP_MD_CTX_new()), type(md) { Start(); }
  ~State() { EVP_MD_CTX_free(context); }
  // OpenSSL fails here only when it is out of memory or misbuilt.
  void Start() {
    if (EVP_DigestInit_ex(context, type, nullptr) != 1) std::abort();
  }
  EVP_MD_CTX* context;
  const EVP_MD* type;
};

CryptoHasher::CryptoHasher(std::unique_ptr<State> state) : state_(std::move(state)) {}
CryptoHasher::~CryptoHasher() = default;
CryptoHasher::CryptoHasher(CryptoHasher&&) noexcept = default;
CryptoHasher& CryptoHasher::operator=(CryptoHasher&&) noexcept = default;
CryptoHasher CryptoHasher::Sha256() { return CryptoHasher(std::make_unique<State>(EVP_sha256())); }
CryptoHasher CryptoHasher::Md5() { return CryptoHasher(std::make_unique<State>(EVP_md5())); }
CryptoHasher CryptoHasher::Sha1() { return CryptoHasher(std::make_unique<State>(EVP_sha1())); }

void CryptoHasher::Update(absl::string_view data) {
  if (EVP_DigestUpdate(state_->context, data.data(), data.size()) != 1) std::abort();
}

std::string CryptoHasher::Finish() {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (EVP_DigestFinal_ex(state_->context, bytes, &size) != 1) std::abort();
  state_->Start();
  return std::string(reinterpret_cast<const char*>(bytes), size);
}

namespace {

std::string DigestOf(CryptoHasher hasher, absl::string_view data) {
  hasher.Update(data);
  return hasher.Finish();
}

}  // namespace

std::string Sha256(absl::string_view data) { return DigestOf(CryptoHasher::Sha256(), data); }
std::string Md5(absl::string_view data) { return DigestOf(CryptoHasher::Md5(), data); }
std::string Sha1(absl::string_view data) { return DigestOf(CryptoHasher::Sha1(), data); }

}  // namespace narthex
