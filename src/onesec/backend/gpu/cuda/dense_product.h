// The product of a dense bf16 or half matrix and activations rounded to its type, on tensor cores, summed in float32.
//
// A lane (g = lane / 4, t = lane % 4) takes columns 8t..8t+7 of a step of 32 from rows 2g and 2g+1: 16 bytes of each, the
// fragments of two mma.m16n8k16. The activations' fragments take the same columns, so the order along K is the same for
// both, and a step of the weights needs no shuffling at all.
#pragma once
#include "stream.h"

namespace onesec::cuda {

constexpr int kPanelSteps = 4, kPanelBytes = kPanelSteps * kGroup * 2;  // a stage: 16 rows of 128 columns

// Banks: rows lie 256 bytes apart; every other pair of rows has the 64-byte halves of its lines swapped.
ONESEC_DEVICE int panel_swapped(int row) { return (row & 2) << 5; }

struct DenseSource {
  static constexpr int kStageBytes = kTileRows * kPanelBytes;

  const uint16_t* dense;
  int cols, begin, count;  // the warp's slice, in steps
  uint64_t policy;

  __device__ DenseSource(const Product& p, int warp)
      : dense(p.dense), cols(p.cols), begin(warp * p.superblocks / kWarps),
        count((warp + 1) * p.superblocks / kWarps - begin), policy(evict_first()) {}
  __device__ int stages() const { return (count + kPanelSteps - 1) / kPanelSteps; }
  __device__ int first_group() const { return begin; }
  __device__ int groups() const { return count; }
  __device__ int steps(int stage) const { return count - stage * kPanelSteps < kPanelSteps ? count - stage * kPanelSteps : kPanelSteps; }

  __device__ void copy(SharedAddress to, int tile, int stage, int lane) const {
    to = of_lane(to, lane);
    const int at = lane % 16 * 16, column = (begin + stage * kPanelSteps) * kGroup + at / 2;
    if (at >= steps(stage) * kGroup * 2) return;
    // Behind a row's end (cols is a multiple of 8) its beginning is read instead: the activations there are zeros.
    const int inside = column < cols ? column : 0, half = lane / 16;
    const uint16_t* from = dense + (size_t(tile) * kTileRows + half) * cols + inside;
    to += half * kPanelBytes;
#pragma unroll
    for (int i = 0; i < kTileRows / 2; ++i) copy_async(to + 2 * i * kPanelBytes + (at ^ panel_swapped(2 * i)), from + size_t(2 * i) * cols, policy);
  }
};

ONESEC_DEVICE uint4 load_quad(const void* at) { return *static_cast<const uint4*>(at); }

template <class Type, int Tiles>
struct DenseSums {
  float acc[Tiles][4] = {};

  __device__ void add(const uint8_t* stage, const DenseSource& source, int index, const Product& p, const void* activations, int lane) {
    const int g = lane / 4, t = lane % 4, columns = Tiles == 2 ? 8 : tile_columns(p.rows), steps = source.steps(index);
    const auto* x = static_cast<const uint8_t*>(activations) + size_t(source.begin + index * kPanelSteps) * columns * kGroup * 2;
#pragma unroll
    for (int step = 0; step < kPanelSteps; ++step) {
      if (step >= steps) break;
      const int at = (step * kGroup * 2 + t * 16) ^ panel_swapped(2 * g);
      const uint4 first = load_quad(stage + 2 * g * kPanelBytes + at), second = load_quad(stage + (2 * g + 1) * kPanelBytes + at);
#pragma unroll
      for (int tile = 0; tile < Tiles; ++tile) {
        const uint4 b = load_quad(x + tile * rounded_bytes(p.superblocks, columns) + ((step * columns + (g & (columns - 1))) * kGroup * 2 + t * 16));
        Type::multiply(acc[tile], {first.x, second.x, first.y, second.y}, b.x, b.y);
        Type::multiply(acc[tile], {first.z, second.z, first.w, second.w}, b.z, b.w);
      }
    }
  }

  __device__ void total(float (&out)[Tiles][4]) const {
#pragma unroll
    for (int tile = 0; tile < Tiles; ++tile)
#pragma unroll
      for (int i = 0; i < 4; ++i) out[tile][i] = acc[tile][i];
  }
};

template <class Type, int Tiles>
struct DenseKernel {
  using Source = DenseSource;
  using Form = RoundedForm<Type>;
  using Sums = DenseSums<Type, Tiles>;
  static constexpr int kColumns = 8, kRowTiles = Tiles;
  static constexpr bool kOwn = Tiles == 1;
  static constexpr int kDepth = 3;
};

template <class Type, int Tiles>
__global__ void __launch_bounds__(kThreads, Tiles == 1 ? 3 : 2) dense_product(const Product p) {
  ONESEC_SHARED(memory);
  run_product<DenseKernel<Type, Tiles>>(p, memory);
}

}  // namespace onesec::cuda
