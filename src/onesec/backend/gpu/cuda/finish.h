// The end of a product: the warps' sums added in their order, then bias, residual, or the inner values of a feed-forward
// network, prepared at once for the product that follows.
#pragma once
#include "arrive.h"
#include "prepare.h"

namespace onesec::cuda {

ONESEC_DEVICE float activate(Activation kind, float x) {
  switch (kind) {
    case Activation::silu: return x / (1.0f + expf(-x));
    case Activation::gelu_tanh: return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * fmaf(0.044715f * x * x, x, x)));
    case Activation::gelu: return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    default: return x < 0.0f ? 0.0f : x;  // fmaxf would drop what is not a number
  }
}

// Where tile k of a unit lies. Behind the last tile comes the last again; its values are not used.
ONESEC_DEVICE int tile_of_unit(const Product& p, int unit, int k) {
  if (!p.feed) return unit;
  const int local = 2 * unit + k % 2;
  return (local < p.part_tiles ? local : p.part_tiles - 1) + k / 2 * p.part_tiles;
}

// A block's way through the tiles: all those of every gridDim-th unit, then one of the shared units' tiles.
struct Walk {
  int unit = blockIdx.x, k = 0;

  __device__ explicit Walk(const Product& p) { settle(p); }
  __device__ bool done(const Product& p) const { return unit >= p.units; }
  __device__ int tile(const Product& p) const { return tile_of_unit(p, unit, k); }
  __device__ bool shared(const Product& p) const { return unit >= p.first_shared; }
  __device__ void advance(const Product& p) {
    if (shared(p)) {
      unit = p.units;  // a block has one shared tile at most
    } else if (++k == tiles_of_unit(p)) {
      k = 0, unit += gridDim.x;
      settle(p);
    }
  }

 private:
  __device__ void settle(const Product& p) {  // at the shared tile that is the block's
    if (!shared(p)) return;
    const unsigned tiles = tiles_of_unit(p), shift = tiles / 2;  // 1, 2 or 4 tiles
    unit = p.first_shared + static_cast<int>(blockIdx.x >> shift), k = static_cast<int>(blockIdx.x & (tiles - 1));
  }
};

// Shared memory of a block's results. Partial sums have two places in turn, so that one barrier a tile is enough.
template <int Columns>  // of all row tiles
struct alignas(16) Results {  // activations follow
  float partial[2][kWarps][Columns][kTileRows];
  float values[4][Columns][kTileRows];  // of a unit with `feed`
  float scratch[2 * kWarps];
  int last;
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

// The part of them that is no kernel's result is brought near with the tile's first weights, by one thread.
ONESEC_DEVICE void touch_ends(const Product& p, int tile) {
  if (p.row_scale) touch(p.row_scale + tile * kTileRows, 1, 0, 1);
  if (p.bias) touch(p.bias + tile * kTileRows, 1, 0, 1);
}

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

// The tile's values where the other blocks of a shared unit find them. True in the block that comes last, which then has
// the values of all the unit's tiles.
template <int Columns>
ONESEC_DEVICE bool gather_unit(const Product& p, Results<Columns>& results, const Walk& at) {
  constexpr int size = Columns * kTileRows;
  const int tiles = tiles_of_unit(p);
  float* found = p.shared + size_t(at.unit) * tiles * size;
  if (threadIdx.x < size) found[at.k * size + threadIdx.x] = results.values[at.k][threadIdx.x / kTileRows][threadIdx.x % kTileRows];
  if (!last_of(tiles, p.arrived + at.unit, &results.last)) return false;
#pragma unroll 1  // for the registers
  for (int i = threadIdx.x; i < tiles * size; i += kThreads) results.values[i / size][i % size / kTileRows][i % kTileRows] = load_fresh(found + i);
  return true;
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
