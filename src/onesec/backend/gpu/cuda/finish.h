// The end of a product: the warps' sums added in their order, then bias, residual, or the inner values of a feed-forward
// network, prepared at once for the product that follows.
#pragma once
#include "prepare.h"

namespace onesec::cuda {

ONESEC_DEVICE float activate(Activation kind, float x) {
  switch (kind) {
    case Activation::silu: return x / (1.0f + expf(-x));
    case Activation::gelu_tanh: return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * fmaf(0.044715f * x * x, x, x)));
    case Activation::gelu: return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    default: return fmaxf(x, 0.0f);
  }
}

// The tiles of a unit: one, or those of 32 inner values: two, with a gate two of the gate and two of up.
struct Unit {
  int tiles, part_tiles;
  __device__ explicit Unit(const Product& p) : tiles(p.feed ? (p.gated ? 4 : 2) : 1), part_tiles(p.part_tiles) {}
  // Behind the last tile comes the last again; its values are not used.
  __device__ int tile(int unit, int k) const {
    if (tiles == 1) return unit;
    const int local = 2 * unit + k % 2;
    return (local < part_tiles ? local : part_tiles - 1) + k / 2 * part_tiles;
  }
};

// Shared memory of a block's results. Partial sums have two places in turn, so that one barrier a tile is enough.
template <int Columns>  // of all row tiles
struct Results {
  float partial[2][kWarps][Columns][kTileRows];
  float values[4][Columns][kTileRows];  // of a unit with `feed`
  float scratch[kWarps];
};

// A lane's sums of a finished tile: [row tile][c fragment], rows 2 * (lane / 4) and the next, columns 2 * (lane % 4) and
// the next: c[0], c[1] of the first row. Lanes with columns behind N have nothing to say.
template <int N, int Tiles>
ONESEC_DEVICE void leave_sums(const float (&sums)[Tiles][4], float (*partial)[kTileRows], int lane) {
  const int row = lane / 4 * 2, column = lane % 4 * 2;
  if (column >= N) return;
#pragma unroll
  for (int tile = 0; tile < Tiles; ++tile)
#pragma unroll
    for (int i = 0; i < (N == 1 ? 1 : 2); ++i) {
      float* to = &partial[tile * 8 + column + i][row];
      to[0] = sums[tile][i];
      to[1] = sums[tile][2 + i];
    }
}

// What the end of a tile needs beside the sums, read while its products are under way: each row's scale, and what is
// added to it.
struct Ends {
  float scale = 1.0f, more = 0.0f;
};

template <int Columns>
ONESEC_DEVICE Ends begin_tile(const Product& p, int tile) {
  Ends ends;
  if (threadIdx.x >= kTileRows * Columns) return ends;
  const int column = threadIdx.x / kTileRows, at = tile * kTileRows + threadIdx.x % kTileRows;
  if (p.row_scale) ends.scale = p.row_scale[at];
  if (p.add && column < p.rows && at < p.outputs) ends.more = p.y[size_t(column) * p.ld_y + at];
  if (p.bias) ends.more += p.bias[at];
  return ends;
}

// After the barrier: thread (column, row) of the tile adds the warps' sums up and writes the output, or keeps the value.
template <int Columns>
ONESEC_DEVICE void finish_tile(const Product& p, const Ends& ends, Results<Columns>& results, int place, int tile, int k) {
  if (threadIdx.x >= kTileRows * Columns) return;
  const int row = threadIdx.x % kTileRows, column = threadIdx.x / kTileRows, at = tile * kTileRows + row;
  float value = 0.0f;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) value += results.partial[place][warp][column][row];
  value = fmaf(value, ends.scale, ends.more);
  if (p.feed) {
    results.values[k][column][row] = value;
  } else if (column < p.rows && at < p.outputs) {
    p.y[size_t(column) * p.ld_y + at] = value;
  }
}

// A warp a row of the step: lane i has the unit's inner value i.
template <class Form, int Columns>
ONESEC_DEVICE void finish_feed(const Product& p, const Results<Columns>& results, int unit, int warp, int lane) {
  const int index = unit * kGroup + lane;
  for (int row = warp; row < p.rows; row += kWarps) {
    const float first = results.values[lane / kTileRows][row][lane % kTileRows];
    float value = activate(p.activation, first);
    if (p.gated) value *= results.values[2 + lane / kTileRows][row][lane % kTileRows];
    if (index >= p.size) value = 0.0f;
    else p.y[size_t(row) * p.ld_y + index] = value;
    Form::leave(p, value, unit, row, lane);
  }
}

}  // namespace onesec::cuda
