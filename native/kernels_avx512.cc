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
inline __m128i load_bytes(const uint8_t* p) { return _mm_load_si128(reinterpret_cast<const __m128i*>(p)); }

// The codes of one line of columns: its first four columns, its last four. A byte a row and column.
struct OpenedLine { __m512i first, second; };
template <int Width>
inline OpenedLine open_codes(__m512i h, __m512i l) {
  const __m512i low_mask = _mm512_set1_epi8(0x0f);
  if constexpr (Width == 8)  // (mask & l) | (~mask & h << 4): truth table of (a & b) | (~a & c) is 0xca
    return {_mm512_ternarylogic_epi32(low_mask, l, _mm512_slli_epi16(h, 4), 0xca),
            _mm512_ternarylogic_epi32(low_mask, _mm512_srli_epi16(l, 4), h, 0xca)};
  else
    return {_mm512_and_si512(h, low_mask), _mm512_and_si512(_mm512_srli_epi16(h, 4), low_mask)};
}
template <int Width>
inline OpenedLine open_line(const uint8_t* hi, const uint8_t* lo) {
  const __m512i h = _mm512_load_si512(hi);
  return open_codes<Width>(h, Width == 8 ? _mm512_load_si512(lo) : h);
}

// What a unit of a group's integer sums is worth, a row's scales being these.
template <int Width>
inline __m512 step_of(__m128i scales) {
  const __m512 scale = widen_bytes(scales);
  return Width == 8 ? _mm512_mul_ps(scale, _mm512_set1_ps(0.0625f)) : scale;  // exact
}
inline __m128i scales_of(const uint8_t* hi, int half) { return load_bytes(hi + kScaleLine + half * kTileRows); }
inline __m128i minima_of(const uint8_t* hi, int half) { return load_bytes(hi + kScaleLine + (2 + half) * kTileRows); }

inline __m512 add_group(__m512 acc, __m512i sum, __m512 step, float scale, __m512 minimum, float offset) {
  acc = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), step), _mm512_set1_ps(scale), acc);
  return _mm512_fmadd_ps(minimum, _mm512_set1_ps(offset), acc);
}

// One tile of one row, complete: rows `at` on of y.
inline void give_product(__m512 acc, const float* row_scale, const float* bias, int at, float* y, bool add_to) {
  const __m512 unit = _mm512_loadu_ps(row_scale + at);
  __m512 value = bias ? _mm512_fmadd_ps(acc, unit, _mm512_loadu_ps(bias + at)) : _mm512_mul_ps(acc, unit);
  if (add_to) value = _mm512_add_ps(_mm512_loadu_ps(y + at), value);
  _mm512_storeu_ps(y + at, value);
}

constexpr int kPairTiles = 2, kPairRows = 4;  // their sums and running totals fill half of the registers

#include "opened_products.h"

constexpr int kNearBlocks = 5;  // superblocks that a single tile's stream is ahead of its use

// T tiles against M activation rows. The codes of a line are opened once and meet all M rows; a broadcast activation
// meets all T tiles. Meanwhile lines to come are brought near, of each tile whose bit is set in `ahead`: a batch computes
// so long between two lines that the hardware's prefetcher loses the stream. One tile brings its own next superblocks, a
// pair the same place of the pair that follows.
template <int Width, int T, int M>
inline void tile_product(const PlaneMatrix& w, int tile, int ahead, const QuantRows& x, float* y, int ld_y,
                         const float* bias, bool add_to) {
  const int blocks = w.superblocks(), cols = x.cols, groups = x.groups();
  const size_t away = T == 1 ? kNearBlocks : size_t(T) * size_t(blocks);
  const uint8_t *hi[T], *lo[T];
  __m512 acc[T][M];
  for (int t = 0; t < T; ++t) {
    hi[t] = w.hi_tile(tile + t), lo[t] = Width == 8 ? w.lo_tile(tile + t) : nullptr;
    for (int m = 0; m < M; ++m) acc[t][m] = _mm512_setzero_ps();
  }
  const auto bring = [](const uint8_t* p) { _mm_prefetch(reinterpret_cast<const char*>(p), T == 1 ? _MM_HINT_T0 : _MM_HINT_T1); };
  for (int block = 0; block < blocks; ++block) {
    for (int t = 0; t < T; ++t)
      if (ahead >> t & 1) bring(hi[t] + away * kHiBytes + kScaleLine);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const int g = 2 * block + half;
      __m512i sum[T][M];
      for (int m = 0; m < M; ++m)
        for (int t = 0; t < T; ++t)
          sum[t][m] = Width == 8 ? _mm512_set1_epi32(x.residual[m * groups + g]) : _mm512_setzero_si512();
#pragma GCC unroll 4
      for (int line = 0; line < 4; ++line) {
        const int offset = (half * 4 + line) * 64;
        OpenedLine codes[T];
        for (int t = 0; t < T; ++t) {
          if (ahead >> t & 1) {
            bring(hi[t] + away * kHiBytes + offset);
            if constexpr (Width == 8) bring(lo[t] + away * kLoBytes + offset);
          }
          codes[t] = open_line<Width>(hi[t] + offset, Width == 8 ? lo[t] + offset : nullptr);
        }
        const int8_t* q = x.q + g * kGroup + line * 8;
        for (int m = 0; m < M; ++m) {
          const __m512i left = broadcast4(q + m * cols), right = broadcast4(q + m * cols + 4);
          for (int t = 0; t < T; ++t) sum[t][m] = _mm512_dpbusd_epi32(sum[t][m], codes[t].first, left);
          for (int t = 0; t < T; ++t) sum[t][m] = _mm512_dpbusd_epi32(sum[t][m], codes[t].second, right);
        }
      }
      for (int t = 0; t < T; ++t) {
        const __m512 step = step_of<Width>(scales_of(hi[t], half)), minimum = widen_bytes(minima_of(hi[t], half));
        for (int m = 0; m < M; ++m)
          acc[t][m] = add_group(acc[t][m], sum[t][m], step, x.scale[m * groups + g], minimum, x.offset[m * groups + g]);
      }
    }
    for (int t = 0; t < T; ++t) hi[t] += kHiBytes, lo[t] += Width == 8 ? kLoBytes : 0;
  }
  for (int t = 0; t < T; ++t)
    for (int m = 0; m < M; ++m) give_product(acc[t][m], w.row_scale, bias, (tile + t) * kTileRows, y + size_t(m) * ld_y, add_to);
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
          OpenedLine codes;
          if constexpr (Width == 8) codes = open_codes<8>(h[i], l[i]);
          else codes = {_mm512_and_si512(h[i], low_mask), _mm512_and_si512(h[i], high_mask)};  // second: sixteen times
          h[i] = load_here(hi + i * 64);
          if constexpr (Width == 8) l[i] = load_here(lo + i * 64);
          const int8_t* q = x.q + g * kGroup + line * 8;
          first_sum = _mm512_dpbusd_epi32(first_sum, codes.first, broadcast4(q));
          second_sum = _mm512_dpbusd_epi32(second_sum, codes.second, broadcast4(q + 4));
        }
        if (half == 1) h[kScales] = load_here(hi + kScaleLine);
        if constexpr (Width == 4) second_sum = _mm512_srai_epi32(second_sum, 4);  // exact
        const __m512 step = step_of<Width>(half ? _mm512_extracti32x4_epi32(scales, 1) : _mm512_castsi512_si128(scales));
        const __m512 minimum = widen_bytes(half ? _mm512_extracti32x4_epi32(scales, 3) : _mm512_extracti32x4_epi32(scales, 2));
        acc = add_group(acc, _mm512_add_epi32(first_sum, second_sum), step, x.scale[g], minimum, x.offset[g]);
      }
    }
    give_product(acc, w.row_scale, bias, at, y, add_to);
  }
}

// T tiles against all rows, a few at a time. What comes next is brought once, a tile a pass where there are enough passes.
template <int Width, int T>
inline void tile_rows(const PlaneMatrix& w, int tile, const QuantRows& x, int rows, float* y, int ld_y, const float* bias,
                      bool add_to) {
  for (int m = 0; m < rows; m += kPairRows) {
    const int ahead = rows <= kPairRows ? (1 << T) - 1 : m < kPairRows * T ? 1 << (m / kPairRows) : 0;
    const QuantRows some = x.from(m);
    float* out = y + size_t(m) * ld_y;
    switch (rows - m) {
      case 1: tile_product<Width, T, 1>(w, tile, ahead, some, out, ld_y, bias, add_to); break;
      case 2: tile_product<Width, T, 2>(w, tile, ahead, some, out, ld_y, bias, add_to); break;
      case 3: tile_product<Width, T, 3>(w, tile, ahead, some, out, ld_y, bias, add_to); break;
      default: tile_product<Width, T, kPairRows>(w, tile, ahead, some, out, ld_y, bias, add_to); break;
    }
  }
}

template <int Width>
void matmul(const PlaneMatrix& w, int tile_begin, int tile_end, const QuantRows& x, int rows, float* y, int ld_y,
            const float* bias, bool add_to) {
  if (rows == 1) {
    if (tile_begin < tile_end) lone_row<Width>(w, tile_begin, tile_end, x, y, bias, add_to);
    return;
  }
  // Up to kPairRows rows wait for memory, which one stream of lines serves better than two.
  const int pairs_end = rows > kPairRows ? tile_end - (tile_end - tile_begin) % kPairTiles : tile_begin;
  int tile = tile_begin;
  for (; tile < pairs_end; tile += kPairTiles) tile_rows<Width, kPairTiles>(w, tile, x, rows, y, ld_y, bias, add_to);
  for (; tile < tile_end; ++tile) tile_rows<Width, 1>(w, tile, x, rows, y, ld_y, bias, add_to);
}

constinit const PromptKernels opened = {quantize_token, opened_matmul<4>, opened_matmul<8>, true};
}  // namespace

extern const Kernels table;
constinit const Kernels table = make_table("avx512vnni", matmul<4>, matmul<8>, &opened);
}  // namespace onesec::avx512
