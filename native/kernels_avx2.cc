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
  template <int Width> static constexpr int kPlanes = Width / 4;

  template <int Width>
  static __m256i open(__m256i h, __m256i l, bool last, int plane) {
    const __m256i line = plane == 0 ? h : l;
    return last ? high_nibbles(line) : low_nibbles(line);
  }
  template <int Width>
  static __m256i start(int32_t) { return _mm256_setzero_si256(); }

  // In this order: gcc would add in a tree, and keep more products than there are registers.
  static void add(__m256i& sum, __m256i codes, __m256i q) {
    sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, q));
    asm volatile("" : "+x"(sum));
  }

  // At 4 bits a sum times its scale is below 2^24, so it is exact in float: the scales are what pairs of sums are multiplied
  // by when they meet in 32 bits.
  template <int Width>
  static auto steps(__m256i scales) {
    if constexpr (Width == 4) return _mm256_or_si256(scales, _mm256_slli_epi32(scales, 16));
    else return _mm256_mul_ps(_mm256_cvtepi32_ps(scales), _mm256_set1_ps(0.0625f));  // exact
  }
  template <int Width, class Step>
  static __m256 worth(__m256i high, __m256i low, Step step, int32_t residual) {
    if constexpr (Width == 4) return _mm256_cvtepi32_ps(_mm256_madd_epi16(high, step));
    else {
      const __m256i sum = _mm256_add_epi32(_mm256_madd_epi16(high, _mm256_set1_epi16(16)), _mm256_madd_epi16(low, _mm256_set1_epi16(1)));
      return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_add_epi32(sum, _mm256_set1_epi32(residual))), step);
    }
  }
};
}  // namespace

extern const Kernels table;
constinit const Kernels table = make_table("avx2", matmul<Pairs, 4>, matmul<Pairs, 8>);
}  // namespace onesec::avx2
