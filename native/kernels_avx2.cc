// AVX2 with FMA and F16C: byte products in pairs (maddubs), exact because a pair of 4-bit codes cannot overflow.
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
  static __m256i products(__m256i codes, __m256i q, short weight) {
    return _mm256_madd_epi16(_mm256_maddubs_epi16(codes, q), _mm256_set1_epi16(weight));
  }
  template <int Width>
  static __m256i add(__m256i sum, __m256i high, __m256i low, __m256i q) {
    if constexpr (Width == 8) sum = _mm256_add_epi32(sum, products(low, q, 1));
    return _mm256_add_epi32(sum, products(high, q, Width == 8 ? 16 : 1));
  }
};
}  // namespace

extern const Kernels table;
constinit const Kernels table = make_table("avx2", matmul<Pairs, 4>, matmul<Pairs, 8>);
}  // namespace onesec::avx2
