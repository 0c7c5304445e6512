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

// As tiles_of_unit: worked out where it is used, which is rarely.
ONESEC_DEVICE int count_tiles(const Product& p) { return !p.feed ? 1 : fresh(p.gated) ? 4 : 2; }

// A block's way through the tiles: all those of every gridDim-th unit, then one of the shared units' tiles.
struct Walk {
  int unit;

  __device__ explicit Walk(const Product& p) : unit(p.paired ? blockIdx.x / kPair : blockIdx.x), state_(p.paired ? blockIdx.x % kPair : 0) { settle(p); }
  __device__ int k() const { return state_ & (kTurn - 1); }  // which tile of the unit
  __device__ int turn() const { return state_ / kTurn; }     // 0 and 1, tile after tile
  __device__ bool done(const Product& p) const { return unit >= p.units; }
  __device__ int tile(const Product& p) const { return tile_of_unit(p, unit, k()); }
  __device__ bool shared(const Product& p) const { return unit >= p.first_shared; }
  __device__ void advance(const Product& p) {
    if (p.paired || shared(p)) {
      unit = p.units;  // a block has one tile of a pair, or one shared one at most
      return;
    }
    state_ = (state_ + 1) ^ kTurn;
    if (k() < count_tiles(p)) return;
    state_ &= kTurn, unit += gridDim.x;
    settle(p);
  }

 private:
  static constexpr int kTurn = 16;
  int state_;  // both in one register

  __device__ void settle(const Product& p) {  // at the shared tile that is the block's
    if (!shared(p)) return;
    const int block = fresh(blockIdx.x), tiles = count_tiles(p);  // 1, 2 or 4
    unit = p.first_shared + (block >> tiles / 2), state_ |= block & (tiles - 1);
  }
};

// Shared memory of a block's results. Partial sums have two places in turn, so that one barrier a tile is enough.
template <int Columns>  // of all row tiles
struct alignas(16) Results {
  float partial[2][kWarps][Columns][kTileRows];
  float values[4][Columns][kTileRows];  // of a unit with `feed`
  float factors[Columns];  // of the rows' norm, where `squares` tell
  int last;
};

// A lane's sums of a finished tile: [row tile][c fragment], rows 2 * (lane / 4) and the next, columns 2 * (lane % 4) and
// the next: c[0], c[1] of the first row. Lanes with columns behind N have nothing to say.
template <int N, int Tiles>
ONESEC_DEVICE void leave_sums(const float (&sums)[Tiles][4], float (*partial)[kTileRows], int lane) {
  lane = fresh(lane);
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
  if (p.paired) touch(p.feed_weight + (tile * kTileRows < p.outputs ? tile * kTileRows : 0), 1, 0, 1);
}

template <int Columns>
ONESEC_DEVICE Ends begin_tile(const Product& p, int tile) {
  Ends ends;
  const int thread = fresh(threadIdx.x), column = thread / kTileRows, at = tile * kTileRows + thread % kTileRows;
  if (thread >= kTileRows * Columns) return ends;
  if (p.row_scale) ends.scale = p.row_scale[at];
  if (p.add && column < p.rows && at < p.outputs) ends.more = p.y[size_t(column) * p.ld_y + at];
  if (p.bias) ends.more += p.bias[at];
  return ends;
}

// The factors of the rows' RMS norm from sums of squares in parts: four lanes a row.
ONESEC_DEVICE void find_factors(const Product& p, int groups, float* factors, int lane) {
  for (int first = 0; first < p.rows; first += 8) {
    const int row = first + lane / 4;
    const float* from = p.squares + size_t(row < p.rows ? row : 0) * groups;
    float sum = 0.0f;
#pragma unroll 8
    for (int at = lane % 4; at < groups; at += 4) sum += from[at];
    sum += __shfl_xor_sync(kAllLanes, sum, 1);
    sum += __shfl_xor_sync(kAllLanes, sum, 2);
    if (row < p.rows && lane % 4 == 0) factors[row] = 1.0f / sqrtf(sum / float(p.cols) + p.eps);
  }
}

// After the barrier: thread (column, row) of the tile adds the warps' sums up and writes the output, or keeps the value; the
// second block of a pair sends it to the first, told to the gate.
template <int Columns>
ONESEC_DEVICE void finish_tile(const Product& p, const Ends& ends, Results<Columns>& results, const Walk& walk, Gate* partner) {
  const int thread = fresh(threadIdx.x), row = thread % kTileRows, column = thread / kTileRows, at = tile_of_unit(p, fresh(walk.unit), walk.k()) * kTileRows + row;
  if (thread >= kTileRows * Columns) return;
  float value = 0.0f;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) value += results.partial[walk.turn()][warp][column][row];
  value = fmaf(value, p.squares ? ends.scale * results.factors[column] : ends.scale, ends.more);
  const bool paired = fresh(p.paired), again = paired && kPair * walk.unit + walk.k() >= p.part_tiles;  // behind the last tile
  if ((!p.feed || paired) && column < p.rows && at < p.outputs && !again) p.y[size_t(column) * p.ld_y + at] = value;
  if (paired && walk.k() > 0) send(value, &results.values[walk.k()][column][row], partner, 0);
  else if (p.feed) results.values[walk.k()][column][row] = value;
}

// The tile's values where the other blocks of a shared unit find them. True in the block that comes last, which then has
// the values of all the unit's tiles.
template <int Columns>
ONESEC_DEVICE bool gather_unit(const Product& p, Results<Columns>& results, const Walk& at) {
  constexpr int size = Columns * kTileRows;
  const int tiles = count_tiles(p);
  float* found = p.shared + size_t(at.unit) * tiles * size;
  if (threadIdx.x < size) found[at.k() * size + threadIdx.x] = results.values[at.k()][threadIdx.x / kTileRows][threadIdx.x % kTileRows];
  if (!last_of(tiles, p.arrived + at.unit, &results.last)) return false;
#pragma unroll 1  // for the registers
  for (int i = threadIdx.x; i < tiles * size; i += kThreads) results.values[i / size][i % size / kTileRows][i % kTileRows] = load_fresh(found + i);
  return true;
}

// A warp a row of the step: lane i has the unit's inner value i.
template <class Form, int Columns>
ONESEC_DEVICE void finish_feed(const Product& p, const Results<Columns>& results, int unit, int warp, int lane) {
  lane = fresh(lane);
  const int index = unit * kGroup + lane;
  for (int row = fresh(warp); row < p.rows; row += kWarps) {
    const float first = results.values[lane / kTileRows][row][lane % kTileRows];
    float value = activate(p.activation, first);
    if (p.gated) value *= results.values[2 + lane / kTileRows][row][lane % kTileRows];
    if (index >= p.size) value = 0.0f;
    else p.y[size_t(row) * p.ld_y + index] = value;
    Form::leave(p, value, unit, row, lane);
  }
}

// What reads the residual stream next is left a group of it: a warp a row, as finish_feed. The values of the pair's other
// block come as its gate tells.
template <class Form, int Columns>
ONESEC_DEVICE void finish_stream(const Product& p, const Results<Columns>& results, int unit, Gate* partner, int warp, int lane) {
  lane = fresh(lane);
  const int index = unit * kGroup + lane;
  const bool inside = index < p.outputs;
  const float weight = inside ? p.feed_weight[index] : 0.0f;
  wait_at(partner, 0);
  for (int row = fresh(warp); row < p.rows; row += kWarps) {
    const float value = inside ? results.values[lane / kTileRows][row][lane % kTileRows] : 0.0f;
    const float squares = warp_sum(value * value);
    if (lane == 0) p.feed_squares[size_t(row) * p.units + unit] = squares;
    Form::leave(p, value * weight, unit, row, lane);
  }
}

}  // namespace onesec::cuda
