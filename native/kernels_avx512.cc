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

inline __m512 widen_bytes(__m128i bytes) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)); }
inline __m512 widen_bytes(const uint8_t* p) { return widen_bytes(_mm_load_si128(reinterpret_cast<const __m128i*>(p))); }

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

// A load that happens where it is written, and in that order: the compiler would sink it to its first use.
inline __m512i load_here(const uint8_t* p) {
  __m512i line = _mm512_load_si512(p);
  asm volatile("" : "+v"(line));
  return line;
}

// All tiles against one activation row, at the speed of memory. Every line is in a register one superblock before it is
// used, so that what enters the arithmetic has arrived and the schedulers never fill with operations that wait; lines are
// read strictly ascending, because the hardware's prefetcher loses a stream that steps back (software prefetch slows it).
template <int Width>
void lone_row(const PlaneMatrix& w, int tile_begin, int tile_end, const QuantRows& x, float* y, const float* bias,
              bool add_to) {
  constexpr int kLines = kHiBytes / 64, kScales = kLines - 1;
  const __m512i low_mask = _mm512_set1_epi8(0x0f), high_mask = _mm512_set1_epi8(char(0xf0));
  const uint8_t* hi = w.hi_tile(tile_begin);
  const uint8_t* lo = Width == 8 ? w.lo_tile(tile_begin) : nullptr;
  const uint8_t* const last = w.hi_tile(tile_end) - kHiBytes;
  const int blocks = w.superblocks();
  __m512i h[kLines], l[kScales];
#pragma GCC unroll 9
  for (int i = 0; i < kLines; ++i) h[i] = load_here(hi + i * 64);
  if constexpr (Width == 8) {
#pragma GCC unroll 8
    for (int i = 0; i < kScales; ++i) l[i] = load_here(lo + i * 64);
  }
  for (int tile = tile_begin; tile < tile_end; ++tile) {
    const int at = tile * kTileRows;
    _mm_prefetch(reinterpret_cast<const char*>(w.row_scale + at), _MM_HINT_T0);
    if (bias) _mm_prefetch(reinterpret_cast<const char*>(bias + at), _MM_HINT_T0);
    __m512 acc = _mm512_setzero_ps();
    for (int block = 0; block < blocks; ++block) {
      const bool more = hi < last;  // behind the last superblock there may be nothing: read that one again
      hi += more ? kHiBytes : 0;
      if constexpr (Width == 8) lo += more ? kLoBytes : 0;
      const __m512i scales = h[kScales];
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const int g = 2 * block + half;
        __m512i first_sum = Width == 8 ? _mm512_set1_epi32(x.residual[g]) : _mm512_setzero_si512();
        __m512i second_sum = _mm512_setzero_si512();
#pragma GCC unroll 4
        for (int line = 0; line < 4; ++line) {
          const int i = half * 4 + line;
          __m512i first, second;
          if constexpr (Width == 8) {  // as in tile_product
            first = _mm512_ternarylogic_epi32(low_mask, l[i], _mm512_slli_epi16(h[i], 4), 0xca);
            second = _mm512_ternarylogic_epi32(low_mask, _mm512_srli_epi16(l[i], 4), h[i], 0xca);
          } else {
            first = _mm512_and_si512(h[i], low_mask);
            second = _mm512_and_si512(h[i], high_mask);  // sixteen times the code
          }
          h[i] = load_here(hi + i * 64);
          if constexpr (Width == 8) l[i] = load_here(lo + i * 64);
          const int8_t* q = x.q + g * kGroup + line * 8;
          first_sum = _mm512_dpbusd_epi32(first_sum, first, broadcast4(q));
          second_sum = _mm512_dpbusd_epi32(second_sum, second, broadcast4(q + 4));
        }
        if (half == 1) h[kScales] = load_here(hi + kScaleLine);
        if constexpr (Width == 4) second_sum = _mm512_srai_epi32(second_sum, 4);  // exact
        const __m512 sum = _mm512_cvtepi32_ps(_mm512_add_epi32(first_sum, second_sum));
        const __m512 scale = widen_bytes(half ? _mm512_extracti32x4_epi32(scales, 1) : _mm512_castsi512_si128(scales));
        const __m512 minimum = widen_bytes(half ? _mm512_extracti32x4_epi32(scales, 3) : _mm512_extracti32x4_epi32(scales, 2));
        const float step = Width == 8 ? x.scale[g] * 0.0625f : x.scale[g];
        acc = _mm512_fmadd_ps(_mm512_mul_ps(sum, scale), _mm512_set1_ps(step), acc);
        acc = _mm512_fmadd_ps(minimum, _mm512_set1_ps(x.offset[g]), acc);
      }
    }
    const __m512 unit = _mm512_loadu_ps(w.row_scale + at);
    __m512 value = bias ? _mm512_fmadd_ps(acc, unit, _mm512_loadu_ps(bias + at)) : _mm512_mul_ps(acc, unit);
    if (add_to) value = _mm512_add_ps(_mm512_loadu_ps(y + at), value);
    _mm512_storeu_ps(y + at, value);
  }
}

template <int Width>
void matmul(const PlaneMatrix& w, int tile_begin, int tile_end, const QuantRows& x, int rows, float* y, int ld_y,
            const float* bias, bool add_to) {
  if (rows == 1) {
    if (tile_begin < tile_end) lone_row<Width>(w, tile_begin, tile_end, x, y, bias, add_to);
    return;
  }
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
constinit const Kernels table = make_table("avx512vnni", matmul<4>, matmul<8>);
}  // namespace onesec::avx512
