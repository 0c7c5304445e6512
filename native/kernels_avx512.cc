// AVX-512 with VNNI: unsigned codes times broadcast signed activations, sixteen rows a register.
#include <immintrin.h>

#include <cmath>
#include <cstring>

#include "kernels.h"
#include "vec_avx512.h"

namespace onesec::avx512 {
namespace {
#include "kernels_impl.h"

inline __m512i broadcast4(const int8_t* q) {
  int32_t four;
  std::memcpy(&four, q, 4);
  return _mm512_set1_epi32(four);
}

inline __m512 widen_bytes(const uint8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p))));
}

constexpr int kPrefetchBlocks = 3;

// One tile against M activation rows. The codes of a line are opened once and meet all M rows.
template <int Width, int M>
inline void tile_product(const PlaneMatrix& w, int tile, const QuantRows& x, float* y, int ld_y, const float* bias,
                         bool add_to) {
  const __m512i low_mask = _mm512_set1_epi8(0x0f);
  const uint8_t* hi = w.hi_tile(tile);
  const uint8_t* lo = Width == 8 ? w.lo_tile(tile) : nullptr;
  const int blocks = w.superblocks(), cols = x.cols, groups = x.groups();
  __m512 acc[M];
  for (int m = 0; m < M; ++m) acc[m] = _mm512_setzero_ps();
  for (int block = 0; block < blocks; ++block, hi += kHiBytes, lo += Width == 8 ? kLoBytes : 0) {
    if constexpr (M > 1)
      _mm_prefetch(reinterpret_cast<const char*>(hi + kScaleLine + kPrefetchBlocks * kHiBytes), _MM_HINT_T0);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const int g = 2 * block + half;
      __m512i sum[M];
      for (int m = 0; m < M; ++m)
        sum[m] = Width == 8 ? _mm512_set1_epi32(x.residual[m * groups + g]) : _mm512_setzero_si512();
#pragma GCC unroll 4
      for (int line = 0; line < 4; ++line) {
        const int offset = (half * 4 + line) * 64;
        if constexpr (M > 1) {  // long between two lines: the hardware's prefetcher falls behind
          _mm_prefetch(reinterpret_cast<const char*>(hi + offset + kPrefetchBlocks * kHiBytes), _MM_HINT_T0);
          if constexpr (Width == 8)
            _mm_prefetch(reinterpret_cast<const char*>(lo + offset + kPrefetchBlocks * kLoBytes), _MM_HINT_T0);
        }
        const __m512i h = _mm512_load_si512(hi + offset);
        __m512i first, second;
        if constexpr (Width == 8) {
          const __m512i l = _mm512_load_si512(lo + offset);
          // (mask & l) | (~mask & h << 4): truth table of (a & b) | (~a & c) is 0xca
          first = _mm512_ternarylogic_epi32(low_mask, l, _mm512_slli_epi16(h, 4), 0xca);
          second = _mm512_ternarylogic_epi32(low_mask, _mm512_srli_epi16(l, 4), h, 0xca);
        } else {
          first = _mm512_and_si512(h, low_mask);
          second = _mm512_and_si512(_mm512_srli_epi16(h, 4), low_mask);
        }
        const int8_t* q = x.q + g * kGroup + line * 8;
        for (int m = 0; m < M; ++m) {
          sum[m] = _mm512_dpbusd_epi32(sum[m], first, broadcast4(q + m * cols));
          sum[m] = _mm512_dpbusd_epi32(sum[m], second, broadcast4(q + m * cols + 4));
        }
      }
      const __m512 scale = widen_bytes(hi + kScaleLine + half * kTileRows);
      const __m512 minimum = widen_bytes(hi + kScaleLine + (2 + half) * kTileRows);
      for (int m = 0; m < M; ++m) {
        const float step = Width == 8 ? x.scale[m * groups + g] * 0.0625f : x.scale[m * groups + g];
        acc[m] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum[m]), scale), _mm512_set1_ps(step), acc[m]);
        acc[m] = _mm512_fmadd_ps(minimum, _mm512_set1_ps(x.offset[m * groups + g]), acc[m]);
      }
    }
  }
  const int at = tile * kTileRows;
  const __m512 unit = _mm512_loadu_ps(w.row_scale + at);
  for (int m = 0; m < M; ++m) {
    float* out = y + size_t(m) * ld_y + at;
    __m512 value = bias ? _mm512_fmadd_ps(acc[m], unit, _mm512_loadu_ps(bias + at)) : _mm512_mul_ps(acc[m], unit);
    if (add_to) value = _mm512_add_ps(_mm512_loadu_ps(out), value);
    _mm512_storeu_ps(out, value);
  }
}

template <int Width>
void matmul(const PlaneMatrix& w, int tile_begin, int tile_end, const QuantRows& x, int rows, float* y, int ld_y,
            const float* bias, bool add_to) {
  for (int tile = tile_begin; tile < tile_end; ++tile) {
    int m = 0;
    for (; m + 8 <= rows; m += 8) tile_product<Width, 8>(w, tile, x.from(m), y + size_t(m) * ld_y, ld_y, bias, add_to);
    const QuantRows rest = x.from(m);
    float* out = y + size_t(m) * ld_y;
    switch (rows - m) {
      case 1: tile_product<Width, 1>(w, tile, rest, out, ld_y, bias, add_to); break;
      case 2: tile_product<Width, 2>(w, tile, rest, out, ld_y, bias, add_to); break;
      case 3: tile_product<Width, 3>(w, tile, rest, out, ld_y, bias, add_to); break;
      case 4: tile_product<Width, 4>(w, tile, rest, out, ld_y, bias, add_to); break;
      case 5: tile_product<Width, 5>(w, tile, rest, out, ld_y, bias, add_to); break;
      case 6: tile_product<Width, 6>(w, tile, rest, out, ld_y, bias, add_to); break;
      case 7: tile_product<Width, 7>(w, tile, rest, out, ld_y, bias, add_to); break;
      default: break;
    }
  }
}
}  // namespace

extern const Kernels table;
const Kernels table = make_table("avx512vnni", matmul<4>, matmul<8>);
}  // namespace onesec::avx512
