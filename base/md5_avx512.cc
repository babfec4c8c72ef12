// MD5 in 16 lanes. Compiled for AVX-512F (CMakeLists.txt); called only where the CPU has it.
#include <immintrin.h>

#include "base/md5_kernel.h"

namespace narthex::md5 {
namespace {

using Vector = __m512i;

// Row i: 16 words of lane i. Becomes row i: word i of all lanes.
inline void Transpose(Vector* rows) {
  Vector pairs[16], quads[16];
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    quads[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
    quads[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
    quads[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
    quads[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
  }
  // quads[4 g + w] has in its quarter q the words 4 q + w of the lanes 4 g .. 4 g + 3.
  for (int w = 0; w < 4; ++w) {
    const Vector even01 = _mm512_shuffle_i32x4(quads[w], quads[4 + w], 0x88);
    const Vector odd01 = _mm512_shuffle_i32x4(quads[w], quads[4 + w], 0xdd);
    const Vector even23 = _mm512_shuffle_i32x4(quads[8 + w], quads[12 + w], 0x88);
    const Vector odd23 = _mm512_shuffle_i32x4(quads[8 + w], quads[12 + w], 0xdd);
    rows[w] = _mm512_shuffle_i32x4(even01, even23, 0x88);
    rows[4 + w] = _mm512_shuffle_i32x4(odd01, odd23, 0x88);
    rows[8 + w] = _mm512_shuffle_i32x4(even01, even23, 0xdd);
    rows[12 + w] = _mm512_shuffle_i32x4(odd01, odd23, 0xdd);
  }
}

// The last operand is a truth table, by the bits of the first three.
inline Vector F(Vector b, Vector c, Vector d) { return _mm512_ternarylogic_epi32(b, c, d, 0xca); }
inline Vector G(Vector b, Vector c, Vector d) { return _mm512_ternarylogic_epi32(d, b, c, 0xca); }
inline Vector H(Vector b, Vector c, Vector d) { return _mm512_ternarylogic_epi32(b, c, d, 0x96); }
inline Vector I(Vector b, Vector c, Vector d) { return _mm512_ternarylogic_epi32(b, c, d, 0x39); }

}  // namespace

void Blocks16(uint32_t* state, const unsigned char* const* data, size_t blocks) {
  Vector a = _mm512_loadu_si512(state), b = _mm512_loadu_si512(state + 16),
         c = _mm512_loadu_si512(state + 32), d = _mm512_loadu_si512(state + 48);
  for (size_t block = 0; block < blocks; ++block) {
    Vector words[16];
    for (int lane = 0; lane < 16; ++lane) words[lane] = _mm512_loadu_si512(data[lane] + block * 64);
    Transpose(words);
    const Vector a0 = a, b0 = b, c0 = c, d0 = d;
#define NX_STEP(f, a, b, c, d, word, rotation, constant)                                                 \
  a = _mm512_add_epi32(                                                                                  \
      _mm512_add_epi32(a, _mm512_add_epi32(words[word], _mm512_set1_epi32(static_cast<int>(constant)))), \
      f(b, c, d));                                                                                       \
  a = _mm512_add_epi32(_mm512_rol_epi32(a, rotation), b);
#include "base/md5_steps.inc"
#undef NX_STEP
    a = _mm512_add_epi32(a, a0);
    b = _mm512_add_epi32(b, b0);
    c = _mm512_add_epi32(c, c0);
    d = _mm512_add_epi32(d, d0);
  }
  _mm512_storeu_si512(state, a);
  _mm512_storeu_si512(state + 16, b);
  _mm512_storeu_si512(state + 32, c);
  _mm512_storeu_si512(state + 48, d);
}

}  // namespace narthex::md5
