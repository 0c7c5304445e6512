// Round-to-nearest packing of float tiles into the two planes, and the way back for single rows.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "planes.h"

namespace onesec {

void pack_tile(const float* w, int rows, int cols, int ld, uint8_t* hi, uint8_t* lo, float* row_scale) {
  const int superblocks = round_up(cols, kSuperblock) / kSuperblock;
  std::memset(hi, 0, size_t(superblocks) * kHiBytes);
  std::memset(lo, 0, size_t(superblocks) * kLoBytes);
  for (int r = 0; r < kTileRows; ++r) row_scale[r] = 0.0f;
  for (int r = 0; r < rows; ++r) {
    const float* row = w + size_t(r) * ld;
    float step_max = 0.0f, minimum_max = 0.0f;
    for (int g = 0; g * kGroup < cols; ++g) {
      float low = 0.0f, high = 0.0f;  // every group's range holds zero
      const int end = std::min(cols, (g + 1) * kGroup);
      for (int k = g * kGroup; k < end; ++k) low = std::min(low, row[k]), high = std::max(high, row[k]);
      step_max = std::max(step_max, (high - low) / 15.0f);
      minimum_max = std::max(minimum_max, -low);
    }
    const float unit = std::max(step_max / 255.0f, minimum_max / (255.0f * kMinimumUnit));
    row_scale[r] = unit;
    const float inverse_unit = unit > 0.0f ? 1.0f / unit : 0.0f;
    for (int g = 0; g < superblocks * 2; ++g) {
      const int begin = g * kGroup, end = std::min(cols, begin + kGroup);
      float low = 0.0f, high = 0.0f;
      for (int k = begin; k < end; ++k) low = std::min(low, row[k]), high = std::max(high, row[k]);
      // Both are rounded up: the range never clips.
      const int minimum = std::min(255, int(std::ceil(-low * inverse_unit / kMinimumUnit - 1e-4f)));
      const float base = -float(kMinimumUnit * minimum);
      const int scale = std::clamp(int(std::ceil((high * inverse_unit - base) / 15.0f - 1e-4f)), 1, 255);
      uint8_t* hi_block = hi + size_t(g / 2) * kHiBytes;
      uint8_t* lo_block = lo + size_t(g / 2) * kLoBytes;
      hi_block[kScaleLine + (g & 1) * kTileRows + r] = uint8_t(scale);
      hi_block[kScaleLine + 2 * kTileRows + (g & 1) * kTileRows + r] = uint8_t(minimum);
      const float to_code = 16.0f / float(scale);
      for (int k = 0; k < kGroup; ++k) {
        // Columns of the padding meet zero activations: any code will do.
        const float value = begin + k < end ? row[begin + k] * inverse_unit - base : 0.0f;
        const int code = std::clamp(int(std::lrint(value * to_code)) + kResidualZero, 0, 255);
        const int column = (g & 1) * kGroup + k;
        const int byte = column / 8 * 64 + r * 4 + column % 4, shift = column % 8 / 4 * 4;
        hi_block[byte] |= uint8_t((code >> 4) << shift);
        lo_block[byte] |= uint8_t((code & 15) << shift);
      }
    }
  }
}

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
