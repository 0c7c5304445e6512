// AVX2 with FMA and F16C: byte products in pairs (maddubs). A group's sums stay in 16 bits until its end: of 32 columns
// eight pairs meet in one lane, at most 8 * 2 * 15 * 127 = 30480.
#include <immintrin.h>

#include <cmath>
#include <cstring>

#include "kernels.h"
#include "vec_avx2.h"

namespace onesec::avx2 {
namespace {
#include "half_tiles.h"
#include "kernels_impl.h"

struct Pairs {
  template <int Width> static constexpr int kRows = Width == 8 ? 2 : 4;
  template <int Width> struct Codes { __m256i high[2], low[Width == 8 ? 2 : 0]; };
  template <int Width> struct Sum { __m256i high, low; };  // 16 bits; low is width 8's

  template <int Width>
  static Codes<Width> open(__m256i h, __m256i l) {
    if constexpr (Width == 8) return {{low_nibbles(h), high_nibbles(h)}, {low_nibbles(l), high_nibbles(l)}};
    else return {{low_nibbles(h), high_nibbles(h)}, {}};
  }
  template <int Width>
  static Sum<Width> start(int32_t) { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }

  // One after the other: gcc would add in a tree, and keep more products than there are registers.
  static __m256i pairs(__m256i sum, const __m256i* codes, __m256i left, __m256i right) {
    sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes[0], left));
    asm("" : "+x"(sum));
    sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes[1], right));
    asm("" : "+x"(sum));
    return sum;
  }
  template <int Width>
  static void add(Sum<Width>& sum, const Codes<Width>& codes, __m256i left, __m256i right) {
    sum.high = pairs(sum.high, codes.high, left, right);
    if constexpr (Width == 8) sum.low = pairs(sum.low, codes.low, left, right);
  }
  template <int Width>
  static __m256i total(const Sum<Width>& sum, int32_t residual) {
    if constexpr (Width == 4) return _mm256_madd_epi16(sum.high, _mm256_set1_epi16(1));
    const __m256i high = _mm256_madd_epi16(sum.high, _mm256_set1_epi16(16)), low = _mm256_madd_epi16(sum.low, _mm256_set1_epi16(1));
    return _mm256_add_epi32(_mm256_add_epi32(high, low), _mm256_set1_epi32(residual));
  }
};
}  // namespace

extern const Kernels table;
constinit const Kernels table = make_table("avx2", matmul<Pairs, 4>, matmul<Pairs, 8>);
}  // namespace onesec::avx2
