// The scalar twin: plain loops in the order that every other table must reproduce bit for bit in the plane products.
#include <cmath>
#include <cstring>

#include "kernels.h"
#include "vec_scalar.h"

namespace onesec::scalar {
namespace {
#include "kernels_impl.h"

template <int Width>
void matmul(const PlaneMatrix& w, int tile_begin, int tile_end, const QuantRows& x, int rows, float* y, int ld_y,
            const float* bias, bool add_to) {
  for (int tile = tile_begin; tile < tile_end; ++tile) {
    const uint8_t* hi = w.hi_tile(tile);
    const uint8_t* lo = Width == 8 ? w.lo_tile(tile) : nullptr;
    for (int m = 0; m < rows; ++m) {
      const QuantRows row = x.from(m);
      for (int r = 0; r < kTileRows; ++r) {
        float acc = 0.0f;
        for (int g = 0; g < x.groups(); ++g) {
          const uint8_t* hb = hi + size_t(g / 2) * kHiBytes;
          int32_t sum = Width == 8 ? row.residual[g] : 0;
          for (int k = 0; k < kGroup; ++k) {
            const int column = (g & 1) * kGroup + k;
            const int byte = column / 8 * 64 + r * 4 + column % 4, shift = column % 8 / 4 * 4;
            int code = (hb[byte] >> shift) & 15;
            if (Width == 8) code = 16 * code + ((lo[size_t(g / 2) * kLoBytes + size_t(byte)] >> shift) & 15);
            sum += code * row.q[g * kGroup + k];
          }
          const float scale = hb[kScaleLine + (g & 1) * kTileRows + r];
          const float minimum = hb[kScaleLine + (2 + (g & 1)) * kTileRows + r];
          const float step = Width == 8 ? row.scale[g] * 0.0625f : row.scale[g];
          acc = std::fma(float(sum) * scale, step, acc);
          acc = std::fma(minimum, row.offset[g], acc);
        }
        const int at = tile * kTileRows + r;
        const float value = bias ? std::fma(acc, w.row_scale[at], bias[at]) : acc * w.row_scale[at];
        float& out = y[size_t(m) * ld_y + at];
        out = add_to ? out + value : value;
      }
    }
  }
}
}  // namespace

extern const Kernels table;
constinit const Kernels table = make_table("scalar", matmul<4>, matmul<8>);
}  // namespace onesec::scalar
