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
  template <int Width> struct Codes { __m256i first, second; };
  template <int Width> using Sum = __m256i;

  template <int Width>
  static Codes<Width> open(__m256i h, __m256i l) {
    if constexpr (Width == 4) return {low_nibbles(h), high_nibbles(h)};
    const __m256i high = _mm256_set1_epi8(char(0xf0));
    return {_mm256_or_si256(_mm256_and_si256(_mm256_slli_epi16(h, 4), high), low_nibbles(l)),
            _mm256_or_si256(_mm256_and_si256(h, high), high_nibbles(l))};
  }
  template <int Width>
  static __m256i start(int32_t residual) { return Width == 8 ? _mm256_set1_epi32(residual) : _mm256_setzero_si256(); }

  static __m256i dot(__m256i sum, __m256i codes, __m256i q) {
#if defined(ONESEC_VNNI_OF_AVX512)
    return _mm256_dpbusd_epi32(sum, codes, q);
#else
    return _mm256_dpbusd_avx_epi32(sum, codes, q);
#endif
  }
  template <int Width>
  static void add(__m256i& sum, const Codes<Width>& codes, __m256i left, __m256i right) {
    sum = dot(dot(sum, codes.first, left), codes.second, right);
  }
  static __m256i total(__m256i sum, int32_t) { return sum; }
};
}  // namespace

extern const decltype(Kernels::matmul4) matmul4, matmul8;
const decltype(Kernels::matmul4) matmul4 = matmul<Fours, 4>, matmul8 = matmul<Fours, 8>;
}  // namespace onesec::avxvnni
