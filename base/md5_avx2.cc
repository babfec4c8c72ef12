// MD5 in 8 lanes. Compiled for AVX2 (CMakeLists.txt); called only where the CPU has it.
#include <immintrin.h>

#include "base/md5_kernel.h"

namespace narthex::md5 {
namespace {

using Vector = __m256i;

// Row i: 8 words of lane i. Becomes row i: word i of all lanes.
inline void Transpose(Vector* rows) {
  Vector pairs[8], quads[8];
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    quads[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
    quads[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
    quads[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
    quads[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
  }
  for (int w = 0; w < 4; ++w) {
    rows[w] = _mm256_permute2x128_si256(quads[w], quads[4 + w], 0x20);
    rows[4 + w] = _mm256_permute2x128_si256(quads[w], quads[4 + w], 0x31);
  }
}

inline Vector Load(const void* from) { return _mm256_loadu_si256(static_cast<const Vector*>(from)); }
inline void Store(void* to, Vector value) { _mm256_storeu_si256(static_cast<Vector*>(to), value); }

inline Vector F(Vector b, Vector c, Vector d) {
  return _mm256_xor_si256(d, _mm256_and_si256(b, _mm256_xor_si256(c, d)));
}
inline Vector G(Vector b, Vector c, Vector d) { return F(d, b, c); }
inline Vector H(Vector b, Vector c, Vector d) { return _mm256_xor_si256(b, _mm256_xor_si256(c, d)); }
inline Vector I(Vector b, Vector c, Vector d) {
  return _mm256_xor_si256(c, _mm256_or_si256(b, _mm256_xor_si256(d, _mm256_set1_epi32(-1))));
}

}  // namespace

void Blocks8(uint32_t* state, const unsigned char* const* data, size_t blocks) {
  Vector a = Load(state), b = Load(state + 8), c = Load(state + 16), d = Load(state + 24);
  for (size_t block = 0; block < blocks; ++block) {
    Vector words[16];
    for (int half = 0; half < 2; ++half) {
      for (int lane = 0; lane < 8; ++lane) words[half * 8 + lane] = Load(data[lane] + block * 64 + half * 32);
      Transpose(words + half * 8);
    }
    const Vector a0 = a, b0 = b, c0 = c, d0 = d;
#define NX_STEP(f, a, b, c, d, word, rotation, constant)                                                 \
  a = _mm256_add_epi32(                                                                                  \
      _mm256_add_epi32(a, _mm256_add_epi32(words[word], _mm256_set1_epi32(static_cast<int>(constant)))), \
      f(b, c, d));                                                                                       \
  a = _mm256_add_epi32(                                                                                  \
      _mm256_or_si256(_mm256_slli_epi32(a, rotation), _mm256_srli_epi32(a, 32 - (rotation))), b);
#include "base/md5_steps.inc"
#undef NX_STEP
    a = _mm256_add_epi32(a, a0);
    b = _mm256_add_epi32(b, b0);
    c = _mm256_add_epi32(c, c0);
    d = _mm256_add_epi32(d, d0);
  }
  Store(state, a);
  Store(state + 8, b);
  Store(state + 16, c);
  Store(state + 24, d);
}

}  // namespace narthex::md5
