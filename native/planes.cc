// What planes hold: single rows back to floats, and how far the two widths of a row may lie apart.
#include "planes.h"

#include <cmath>

namespace onesec {

void residual_bounds(const PlaneMatrix& w, int tile, float* bounds) {
  double squares[kTileRows] = {};
  const uint8_t* hi = w.hi_tile(tile);
  const uint8_t* lo = w.lo_tile(tile);
  for (int block = 0; block < w.superblocks(); ++block, hi += kHiBytes, lo += kLoBytes) {
    for (int half = 0; half < 2; ++half) {
      uint16_t sums[64] = {};  // of a byte's place in the line; each is at most 4 * 2 * 64
      for (int line = 0; line < 4; ++line)
        for (int i = 0; i < 64; ++i) {
          const uint8_t byte = lo[(half * 4 + line) * 64 + i];
          const int low = (byte & 15) - kResidualZero, high = (byte >> 4) - kResidualZero;
          sums[i] = uint16_t(sums[i] + low * low + high * high);
        }
      for (int r = 0; r < kTileRows; ++r) {
        const double step = hi[kScaleLine + half * kTileRows + r] / 16.0;
        squares[r] += step * step * (sums[4 * r] + sums[4 * r + 1] + sums[4 * r + 2] + sums[4 * r + 3]);
      }
    }
  }
  // A sum of n roundings errs by at most n u / (1 - n u) of the sum of its terms' sizes (u = 2^-24). A group brings a
  // scaled sum (two roundings) and a minimum (one), together at most 255 (15.5 + 8) |x|_1, and |x|_1 <= sqrt(cols) |x|.
  const double n_u = (3.0 * (w.cols / kGroup) + 3.0) * 0x1p-24;
  const double rounding = 2.0 * n_u / (1.0 - n_u) * 255.0 * (15.5 + kMinimumUnit) * 1.001 * std::sqrt(double(w.cols));
  for (int r = 0; r < kTileRows; ++r)
    bounds[r] = float(w.row_scale[size_t(tile) * kTileRows + size_t(r)] * (std::sqrt(squares[r]) + rounding) * (1.0 + 0x1p-20));
}

void unpack_row(const PlaneMatrix& w, int row, int width, int cols, float* out) {
  const int r = row % kTileRows;
  const uint8_t* hi = w.hi_tile(row / kTileRows);
  const uint8_t* lo = width == 8 ? w.lo_tile(row / kTileRows) : nullptr;
  const float unit = w.row_scale[row];
  for (int k = 0; k < cols; ++k) {
    const int block = k / kSuperblock, column = k % kSuperblock, g = column / kGroup;
    const uint8_t* hb = hi + size_t(block) * kHiBytes;
    const int byte = column / 8 * 64 + r * 4 + column % 4, shift = column % 8 / 4 * 4;
    const float scale = unit * hb[kScaleLine + g * kTileRows + r];
    const float base = unit * kMinimumUnit * hb[kScaleLine + (2 + g) * kTileRows + r];
    const int high = (hb[byte] >> shift) & 15;
    if (width == 8) {
      const int low = (lo[size_t(block) * kLoBytes + byte] >> shift) & 15;
      out[k] = scale * (float(16 * high + low - kResidualZero) / 16.0f) - base;
    } else {
      out[k] = scale * float(high) - base;
    }
  }
}

}  // namespace onesec
