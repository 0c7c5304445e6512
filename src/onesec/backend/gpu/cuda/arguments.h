// What the kernels are asked to do: the structs that Python fills in (cuda_library.py has the same fields in the same
// order). And how prepared activations lie in memory. Knows no instruction.
#pragma once
#include <cstddef>
#include <cstdint>

namespace onesec::cuda {

constexpr int kWarps = 8, kThreads = 32 * kWarps;  // that compute
constexpr int kBlockThreads = kThreads + 32;       // and those of the one that brings weights
constexpr int kTileRows = 16, kGroup = 32, kSuperblock = 64;  // as in native/planes.h
constexpr int kHiBytes = 576, kLoBytes = 512, kScaleLine = 512;
constexpr int kMinimumUnit = 8, kResidualZero = 8;
constexpr float kLeast = 0x1p-120f;
constexpr int kMaxRows = 16;  // of a step: two tensor-core tiles of 8

enum class Format : int32_t { none = 0, planes4 = 4, planes8 = 8, bf16 = 16, half = 17 };  // of a product's weights
enum class NormKind : int32_t { none, rms, layer };
enum class Activation : int32_t { silu, gelu_tanh, gelu, relu };

// The rows of a step come in tiles of 8; a single tile is narrower (1, 2 or 4 columns) when the step has fewer rows.
constexpr int tile_columns(int rows) { return rows <= 1 ? 1 : rows <= 2 ? 2 : rows <= 4 ? 4 : 8; }
constexpr int row_tiles(int rows) { return rows <= 8 ? 1 : 2; }

struct Product {
  // Weights: the planes, or a dense matrix. Tiles of 16 rows; the first tile, scale and bias are those of output 0.
  const uint8_t* hi;
  const uint8_t* lo;
  const uint16_t* dense;   // [16 * tiles][cols] bf16 or half
  const float* row_scale;  // null: 1
  const float* bias;       // null: 0
  // Activations, prepared: by the kernel before, or by prepare_rows from floats [rows][cols] and their norm.
  const void* prepared;
  const float* x;
  const float* norm_weight;
  const float* norm_bias;  // null: 0
  const float* squares;  // [rows][groups]: sums of squares, where prepared ones lack their RMS norm's factor; null: they are whole
  // Results: y[rows][ld_y]. With `feed`, y holds [rows][size] inner values, which are also left prepared in `feed`. Where
  // `paired`, y is the residual stream, and what is left is y times the weights of the RMS norm that reads it next, without
  // the norm's factor, and the squares that it follows from.
  float* y;
  void* feed;
  const float* feed_weight;  // [outputs]
  float* feed_squares;       // [rows][units]
  // Where blocks share units (share_units): [units][tiles][rows in tiles of columns][16] sums, and a zero for each unit.
  float* shared;
  int32_t* arrived;
  int32_t cols;         // of the activations; the planes are padded to superblocks
  int32_t rows;         // of the step, 1..16
  int32_t superblocks;  // of a row of the planes; for a dense matrix: steps of 32 columns
  int32_t units;        // what a block does between two results: a tile, or the tiles of 32 inner values
  int32_t first_shared;  // units from here on are shared by blocks; this and the next are set as the product is launched (plan.h)
  int32_t slots;         // of a block's shared memory, for stages of the weights
  int32_t part_tiles;   // tiles of y; with a gate, of each half
  int32_t ld_y;
  int32_t outputs;      // columns of y; the rows of the weights are padded
  int32_t size;         // inner values, with `feed`
  int32_t gated;
  int32_t add;          // y += result, instead of y =
  int32_t paired;       // a unit is two tiles, of a block each: the two are a cluster, and do nothing else
  NormKind norm;
  Activation activation;
  float eps;
};

constexpr int kCacheTokens = 32;  // of a block of the key-value cache
constexpr int kSplits = 8;        // blocks that share a sequence: one takes every eighth block of its cache

// Attention of single tokens over the paged cache of half values. Heads of q and k are normed and turned first, keys and
// values of the step's rows left in the cache. A token's bits depend on its sequence alone.
struct Attention {
  const float* qkv;          // [rows][qkv_stride]; query heads first; rows and heads begin at multiples of 16 bytes
  uint16_t* keys;            // [blocks][kv_heads][kCacheTokens][head_dim]
  uint16_t* values;
  const float* rotary;       // [context][2 * half]: a position's cosines, then its sines; null: nothing is turned
  const float* q_norm;       // [head_dim], of an RMS norm; null: none
  const float* k_norm;
  const int32_t* positions;  // [rows]; rows of a sequence follow one another. Positions and tables are there before the
  const int32_t* tables;     // [rows][table_stride]    step begins: they are read without waiting
  float* out;                // [rows][heads][head_dim]
  void* feed;                // the same, as that product's activations: heads are multiples of 32 values, all of them of 64
  int32_t rows;              // of the step, 1..16
  int32_t qkv_stride;
  int32_t k_offset;          // of the first kv head's keys in a row, and values
  int32_t v_offset;
  int32_t table_stride;
  int32_t kv_heads;
  int32_t group;             // query heads of a kv head
  int32_t head_dim;          // a multiple of 8, at most 256
  int32_t half;              // pairs of a head that are turned, (i, i + half): a multiple of 8
  int32_t window;            // positions that are seen, 0: all
  Format feed_form;          // of the product that reads `feed`; none: nobody does
  float scale;
  float softcap;             // 0: none
  float q_eps;
  float k_eps;
};

// The tiles of a unit: one, or those of 32 inner values: two, with a gate two of the gate and two of up.
constexpr int tiles_of_unit(const Product& p) { return !p.feed ? 1 : p.gated ? 4 : 2; }
constexpr int kPair = 2;  // blocks of a cluster, where they are paired

// Activations for the planes: int8 with a scale for each group of 32, as native/planes.h's QuantRows.
//   q      [tiles][groups][columns][32]  x = scale * q
//   meta   [tiles][groups][columns]      scale, offset = -8 * scale * sum(q)
//   start  [tiles][groups][columns]      where the integer sums begin, see planes_product.h
// Columns behind the step's last row may hold anything.
struct alignas(8) Meta { float scale, offset; };

struct Quantized {
  int8_t* q;
  Meta* meta;
  int32_t* start;

  static constexpr size_t bytes(int groups, int columns) {  // of a tile
    return size_t(groups) * size_t(columns) * (kGroup + sizeof(Meta) + sizeof(int32_t));
  }
};

// Activations for dense weights: rounded to the weights' type, [tiles][steps of 32][columns][32], zeros behind `cols`.
constexpr size_t rounded_bytes(int steps, int columns) { return size_t(steps) * size_t(columns) * kGroup * 2; }  // of a tile

}  // namespace onesec::cuda
