// AVX-VNNI: four byte products a lane in one instruction, for processors that have no AVX-512. Everything else is
// AVX2's. kernels_avxvnni_evex.cc builds it a second time, to be tested where there is no such processor.
#include <immintrin.h>

#include <cstring>

#include "kernels.h"

#if defined(ONESEC_VNNI_OF_AVX512)
namespace onesec::avxvnni_evex {
#else
namespace onesec::avxvnni {
#endif
namespace {
#include "half_tiles.h"

struct Fours {
  template <int Width> static constexpr int kRows = 4;
  template <int Width> static constexpr int kPlanes = 1;

  template <int Width>
  static __m256i open(__m256i h, __m256i l, bool last, int) {
    if constexpr (Width == 4) return last ? high_nibbles(h) : low_nibbles(h);
    const __m256i upper = _mm256_and_si256(last ? h : _mm256_slli_epi16(h, 4), _mm256_set1_epi8(char(0xf0)));
    return _mm256_or_si256(upper, last ? high_nibbles(l) : low_nibbles(l));
  }
  template <int Width>
  static __m256i start(int32_t residual) { return Width == 8 ? _mm256_set1_epi32(residual) : _mm256_setzero_si256(); }

  static void add(__m256i& sum, __m256i codes, __m256i q) {
#if defined(ONESEC_VNNI_OF_AVX512)
    sum = _mm256_dpbusd_epi32(sum, codes, q);
#else
    sum = _mm256_dpbusd_avx_epi32(sum, codes, q);
#endif
  }
  template <int Width>
  static __m256 steps(__m256i scales) {
    return _mm256_mul_ps(_mm256_cvtepi32_ps(scales), _mm256_set1_ps(Width == 8 ? 0.0625f : 1.0f));  // exact
  }
  template <int Width>
  static __m256 worth(__m256i sum, __m256i, __m256 step, int32_t) { return _mm256_mul_ps(_mm256_cvtepi32_ps(sum), step); }
};
}  // namespace

extern const decltype(Kernels::matmul4) matmul4, matmul8;
const decltype(Kernels::matmul4) matmul4 = matmul<Fours, 4>, matmul8 = matmul<Fours, 8>;
}  // namespace onesec::avxvnni
