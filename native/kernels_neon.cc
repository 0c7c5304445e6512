// NEON with the dot product of ARMv8.2: four signed byte products a lane, the activations taken by lane number.
// Codes of eight bits are met less 128, so that they are signed; the activations' sum puts the 128 back.
#include <cmath>
#include <cstring>

#include "kernels.h"
#include "vec_neon.h"

namespace onesec::neon {
namespace {
#include "kernels_impl.h"

inline V widen_row_bytes(const uint8_t* p) {
  const uint8x16_t bytes = vld1q_u8(p);
  const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
  return {{vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))), vcvtq_f32_u32(vmovl_u16(vget_high_u16(low))),
           vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))), vcvtq_f32_u32(vmovl_u16(vget_high_u16(high)))}};
}

// One line of codes (8 columns) for Quarters x 4 rows; q: the 16 activations that its pair of lines meets.
template <int Width, int M, int Quarters, int Line>
inline void line_product(const uint8_t* hi, const uint8_t* lo, const int8x16_t (&q)[M], int32x4_t (&sum)[M][Quarters]) {
  constexpr int lane = Line % 2 * 2;
  for (int i = 0; i < Quarters; ++i) {
    const uint8x16_t h = vld1q_u8(hi + Line * 64 + i * 16);
    int8x16_t first, second;
    if constexpr (Width == 8) {
      const uint8x16_t l = vld1q_u8(lo + Line * 64 + i * 16), top = vdupq_n_u8(0x80);
      first = vreinterpretq_s8_u8(veorq_u8(vsliq_n_u8(l, h, 4), top));   // shift and insert: lower halves
      second = vreinterpretq_s8_u8(veorq_u8(vsriq_n_u8(h, l, 4), top));  // upper halves
    } else {
      first = vreinterpretq_s8_u8(vandq_u8(h, vdupq_n_u8(0x0f)));
      second = vreinterpretq_s8_u8(vshrq_n_u8(h, 4));
    }
    for (int m = 0; m < M; ++m) {
      sum[m][i] = vdotq_laneq_s32(sum[m][i], first, q[m], lane);
      sum[m][i] = vdotq_laneq_s32(sum[m][i], second, q[m], lane + 1);
    }
  }
}

// Quarters x 4 rows of a tile, from row 4 * quarter on, against M activation rows.
template <int Width, int M, int Quarters>
inline void part_product(const PlaneMatrix& w, int tile, int quarter, const QuantRows& x, float* y, int ld_y, const float* bias,
                         bool add_to) {
  const uint8_t* hi = w.hi_tile(tile) + quarter * 16;
  const uint8_t* lo = Width == 8 ? w.lo_tile(tile) + quarter * 16 : nullptr;
  const int groups = x.groups();
  float32x4_t acc[M][Quarters];
  for (int m = 0; m < M; ++m)
    for (int i = 0; i < Quarters; ++i) acc[m][i] = vdupq_n_f32(0.0f);
  for (int g = 0; g < groups; ++g) {
    const int half = g % 2;
    int32x4_t sum[M][Quarters];
    for (int m = 0; m < M; ++m)
      for (int i = 0; i < Quarters; ++i)
        // sum (c - 8) q = sum (c - 128) q + 120 sum q, and residual = -8 sum q
        sum[m][i] = vdupq_n_s32(Width == 8 ? -15 * x.residual[m * groups + g] : 0);
    const uint8_t* line_hi = hi + half * 256;
    const uint8_t* line_lo = Width == 8 ? lo + half * 256 : nullptr;
    int8x16_t q[M];
    const auto take_q = [&](int at) {
      for (int m = 0; m < M; ++m) q[m] = vld1q_s8(x.q + size_t(m) * size_t(x.cols) + g * kGroup + at);
    };
    take_q(0);
    line_product<Width, M, Quarters, 0>(line_hi, line_lo, q, sum);
    line_product<Width, M, Quarters, 1>(line_hi, line_lo, q, sum);
    take_q(16);
    line_product<Width, M, Quarters, 2>(line_hi, line_lo, q, sum);
    line_product<Width, M, Quarters, 3>(line_hi, line_lo, q, sum);
    const uint8_t* scales = hi - quarter * 16 + kScaleLine;
    const V scale = widen_row_bytes(scales + half * kTileRows), minimum = widen_row_bytes(scales + (2 + half) * kTileRows);
    for (int m = 0; m < M; ++m) {
      const float step = Width == 8 ? x.scale[m * groups + g] * 0.0625f : x.scale[m * groups + g];
      for (int i = 0; i < Quarters; ++i) {
        acc[m][i] = vfmaq_n_f32(acc[m][i], vmulq_f32(vcvtq_f32_s32(sum[m][i]), scale.v[quarter + i]), step);
        acc[m][i] = vfmaq_n_f32(acc[m][i], minimum.v[quarter + i], x.offset[m * groups + g]);
      }
    }
    if (half) hi += kHiBytes, lo += Width == 8 ? kLoBytes : 0;
  }
  for (int i = 0; i < Quarters; ++i) {
    const int at = tile * kTileRows + (quarter + i) * 4;
    const float32x4_t unit = vld1q_f32(w.row_scale + at);
    for (int m = 0; m < M; ++m) {
      float* out = y + size_t(m) * size_t(ld_y) + at;
      float32x4_t value = bias ? vfmaq_f32(vld1q_f32(bias + at), acc[m][i], unit) : vmulq_f32(acc[m][i], unit);
      if (add_to) value = vaddq_f32(vld1q_f32(out), value);
      vst1q_f32(out, value);
    }
  }
}

template <int Width>
void matmul(const PlaneMatrix& w, int tile_begin, int tile_end, const QuantRows& x, int rows, float* y, int ld_y,
            const float* bias, bool add_to) {
  for (int tile = tile_begin; tile < tile_end; ++tile) {
    int m = 0;
    for (; m + 4 <= rows; m += 4)  // 4 x 8 sums fill the registers
      for (int quarter = 0; quarter < 4; quarter += 2)
        part_product<Width, 4, 2>(w, tile, quarter, x.from(m), y + size_t(m) * size_t(ld_y), ld_y, bias, add_to);
    for (; m < rows; ++m) part_product<Width, 1, 4>(w, tile, 0, x.from(m), y + size_t(m) * size_t(ld_y), ld_y, bias, add_to);
  }
}
}  // namespace

extern const Kernels table;
constinit const Kernels table = make_table("neon", matmul<4>, matmul<8>);
}  // namespace onesec::neon
