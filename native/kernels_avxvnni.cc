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
  template <int Width>
  static __m256i add(__m256i sum, __m256i high, __m256i low, __m256i q) {
    const __m256i codes = Width == 8 ? _mm256_or_si256(_mm256_slli_epi16(high, 4), low) : high;
#if defined(ONESEC_VNNI_OF_AVX512)
    return _mm256_dpbusd_epi32(sum, codes, q);
#else
    return _mm256_dpbusd_avx_epi32(sum, codes, q);
#endif
  }
};
}  // namespace

extern const decltype(Kernels::matmul4) matmul4, matmul8;
const decltype(Kernels::matmul4) matmul4 = matmul<Fours, 4>, matmul8 = matmul<Fours, 8>;
}  // namespace onesec::avxvnni
