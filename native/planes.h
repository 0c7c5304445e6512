// The two nibble planes of a weight matrix, byte by byte, and the integer activations they meet.
// Knows nothing of instruction sets, threads or models.
//
// Rows come in tiles of 16, columns in superblocks of 64 (two groups of 32); both are padded.
//   hi plane, 576 bytes a (tile, superblock), nine cache lines:
//     line j = 0..7 holds columns 8j..8j+7: byte 4r+i = code[r][8j+i] | code[r][8j+4+i] << 4  (r row, i = 0..3)
//     line 8: scale[group 0][16 rows], scale[group 1][16], minimum[group 0][16], minimum[group 1][16]  (uint8)
//   lo plane, 512 bytes: the same eight lines with the residual nibbles.
//   row_scale: one float a row.
// Values, with c = 16 * hi + lo:
//   4-bit width: w = row_scale * (scale * hi           - 8 * minimum)
//   8-bit width: w = row_scale * (scale * (c - 8) / 16 - 8 * minimum)
// so hi alone is round-to-nearest of w on 16 levels and lo - 8 its residual in sixteenths of a step.
#pragma once
#include <cstddef>
#include <cstdint>

namespace onesec {

constexpr int kTileRows = 16;
constexpr int kSuperblock = 64;
constexpr int kGroup = 32;
constexpr int kHiBytes = 576;
constexpr int kLoBytes = 512;
constexpr int kScaleLine = 512;  // offset of the scale line inside a hi superblock
constexpr int kMinimumUnit = 8;
constexpr int kResidualZero = 8;
constexpr float kLeast = 0x1p-120f;  // up to here magnitudes count for nothing: 127 divided by them may be infinite

inline int round_up(int n, int unit) { return (n + unit - 1) / unit * unit; }

struct PlaneMatrix {
  const uint8_t* hi = nullptr;
  const uint8_t* lo = nullptr;
  const float* row_scale = nullptr;
  int rows = 0;  // padded to kTileRows
  int cols = 0;  // padded to kSuperblock

  int superblocks() const { return cols / kSuperblock; }
  const uint8_t* hi_tile(int tile) const { return hi + size_t(tile) * superblocks() * kHiBytes; }
  const uint8_t* lo_tile(int tile) const { return lo + size_t(tile) * superblocks() * kLoBytes; }
  size_t hi_bytes() const { return size_t(rows / kTileRows) * superblocks() * kHiBytes; }
  size_t lo_bytes() const { return size_t(rows / kTileRows) * superblocks() * kLoBytes; }
};

// Activations as int8 with one scale per group of 32: x = scale * q.
//   offset[g]   = -8 * scale * sum(q)   float: what the minima of the weights multiply
//   residual[g] = -8 * sum(q)           int32: where the 8-bit sums start, so that c - 8 costs nothing
struct QuantRows {
  int8_t* q = nullptr;         // [rows][cols]
  float* scale = nullptr;      // [rows][groups]
  float* offset = nullptr;     // [rows][groups]
  int32_t* residual = nullptr; // [rows][groups]
  int cols = 0;                // padded to kSuperblock, zeros behind the end

  int groups() const { return cols / kGroup; }
  QuantRows from(int row) const {
    return {q + size_t(row) * cols, scale + size_t(row) * groups(), offset + size_t(row) * groups(),
            residual + size_t(row) * groups(), cols};
  }
};

struct alignas(64) CacheLine { uint8_t bytes[64]; };

// Activations of prompt chunks as bf16: blocks of 16 tokens, groups of 32 columns, a line a token.
// lines [round_up(rows, 16) / 16][groups][16 tokens]; tokens behind the end may hold anything.
struct PromptRows {
  CacheLine* lines = nullptr;
  int cols = 0;  // padded to kSuperblock, zeros behind the end

  int groups() const { return cols / kGroup; }
};
inline size_t prompt_lines(int rows, int cols) { return size_t(round_up(rows, kTileRows)) * size_t(cols / kGroup); }

// One row of the matrix back to floats; width 4 or 8. out[cols].
void unpack_row(const PlaneMatrix& w, int row, int width, int cols, float* out);

// A bound b for each of the tile's 16 rows: for any activations x, the two widths give the row products that lie at most
// b |x| apart, but for the last rounding of each. b is the length of the row's residual (the values of lo alone), and a
// term for the roundings of both sums.
void residual_bounds(const PlaneMatrix& w, int tile, float* bounds);

}  // namespace onesec
