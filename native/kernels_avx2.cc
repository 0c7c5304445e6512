// AVX2 with FMA and F16C: byte products in pairs (maddubs), exact because a pair of 4-bit codes cannot overflow.
#include <immintrin.h>

#include <cmath>
#include <cstring>

#include "kernels.h"
#include "vec_avx2.h"

namespace onesec::avx2 {
namespace {
#include "kernels_impl.h"

inline __m256i broadcast4(const int8_t* q) {
  int32_t four;
  std::memcpy(&four, q, 4);
  return _mm256_set1_epi32(four);
}

// sum += weight * (codes . q) over groups of four bytes; codes 0..15.
inline __m256i accumulate(__m256i sum, __m256i codes, __m256i q, __m256i weight) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(codes, q), weight));
}

inline __m256 widen_bytes(const uint8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

// Eight rows (half a tile) against M activation rows.
template <int Width, int M>
inline void half_tile_product(const PlaneMatrix& w, int tile, int side, const QuantRows& x, float* y, int ld_y,
                              const float* bias, bool add_to) {
  const __m256i low_mask = _mm256_set1_epi8(0x0f);
  const __m256i ones = _mm256_set1_epi16(1), sixteens = _mm256_set1_epi16(16);
  const uint8_t* hi = w.hi_tile(tile) + side * 32;
  const uint8_t* lo = Width == 8 ? w.lo_tile(tile) + side * 32 : nullptr;
  const int cols = x.cols, groups = x.groups();
  __m256 acc[M];
  for (int m = 0; m < M; ++m) acc[m] = _mm256_setzero_ps();
  for (int block = 0; block < w.superblocks(); ++block, hi += kHiBytes, lo += Width == 8 ? kLoBytes : 0) {
    for (int half = 0; half < 2; ++half) {
      const int g = 2 * block + half;
      __m256i sum[M];
      for (int m = 0; m < M; ++m)
        sum[m] = Width == 8 ? _mm256_set1_epi32(x.residual[m * groups + g]) : _mm256_setzero_si256();
      for (int line = 0; line < 4; ++line) {
        const int offset = (half * 4 + line) * 64;
        const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(hi + offset));
        const __m256i h0 = _mm256_and_si256(h, low_mask), h1 = _mm256_and_si256(_mm256_srli_epi16(h, 4), low_mask);
        __m256i l0 = h0, l1 = h1;
        if constexpr (Width == 8) {
          const __m256i l = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lo + offset));
          l0 = _mm256_and_si256(l, low_mask), l1 = _mm256_and_si256(_mm256_srli_epi16(l, 4), low_mask);
        }
        const int8_t* q = x.q + g * kGroup + line * 8;
        for (int m = 0; m < M; ++m) {
          const __m256i q0 = broadcast4(q + m * cols), q1 = broadcast4(q + m * cols + 4);
          if constexpr (Width == 8) {
            sum[m] = accumulate(accumulate(sum[m], h0, q0, sixteens), h1, q1, sixteens);
            sum[m] = accumulate(accumulate(sum[m], l0, q0, ones), l1, q1, ones);
          } else {
            sum[m] = accumulate(accumulate(sum[m], h0, q0, ones), h1, q1, ones);
          }
        }
      }
      const uint8_t* scales = hi - side * 32 + kScaleLine + side * 8;
      const __m256 scale = widen_bytes(scales + half * kTileRows);
      const __m256 minimum = widen_bytes(scales + (2 + half) * kTileRows);
      for (int m = 0; m < M; ++m) {
        const float step = Width == 8 ? x.scale[m * groups + g] * 0.0625f : x.scale[m * groups + g];
        acc[m] = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum[m]), scale), _mm256_set1_ps(step), acc[m]);
        acc[m] = _mm256_fmadd_ps(minimum, _mm256_set1_ps(x.offset[m * groups + g]), acc[m]);
      }
    }
  }
  const int at = tile * kTileRows + side * 8;
  const __m256 unit = _mm256_loadu_ps(w.row_scale + at);
  for (int m = 0; m < M; ++m) {
    float* out = y + size_t(m) * ld_y + at;
    __m256 value = bias ? _mm256_fmadd_ps(acc[m], unit, _mm256_loadu_ps(bias + at)) : _mm256_mul_ps(acc[m], unit);
    if (add_to) value = _mm256_add_ps(_mm256_loadu_ps(out), value);
    _mm256_storeu_ps(out, value);
  }
}

template <int Width>
void matmul(const PlaneMatrix& w, int tile_begin, int tile_end, const QuantRows& x, int rows, float* y, int ld_y,
            const float* bias, bool add_to) {
  for (int tile = tile_begin; tile < tile_end; ++tile) {
    for (int side = 0; side < 2; ++side) {
      int m = 0;
      for (; m + 4 <= rows; m += 4)
        half_tile_product<Width, 4>(w, tile, side, x.from(m), y + size_t(m) * ld_y, ld_y, bias, add_to);
      for (; m < rows; ++m)
        half_tile_product<Width, 1>(w, tile, side, x.from(m), y + size_t(m) * ld_y, ld_y, bias, add_to);
    }
  }
}
}  // namespace

extern const Kernels table;
const Kernels table = make_table("avx2", matmul<4>, matmul<8>);
}  // namespace onesec::avx2
