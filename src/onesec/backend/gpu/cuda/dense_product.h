// The product of a dense bf16 or half matrix and activations rounded to its type, on tensor cores, summed in float32.
//
// A lane (g = lane / 4, t = lane % 4) takes columns 8t..8t+7 of a step of 32 from rows 2g and 2g+1: 16 bytes of each, the
// fragments of two mma.m16n8k16. The activations' fragments take the same columns, so the order along K is the same for
// both, and a step of the weights needs no shuffling at all.
#pragma once
#include "stream.h"

namespace onesec::cuda {

constexpr int kRowBytes = kStageBlocks * kGroup * 2 + 64;  // of a stage; a row and the next lie in different banks

ONESEC_DEVICE uint4 load_quad(const void* at) { return *static_cast<const uint4*>(at); }

// N: columns of a row tile that are kept, 1 or 8.
template <class Type, int N, int Tiles>
struct DenseSums {
  using Form = RoundedForm<Type>;
  static constexpr int kColumns = N, kRowTiles = Tiles;
  static constexpr int kStageBytes = kTileRows * kRowBytes, kSlots = N == 8 ? 3 : kMostSlots, kResident = Tiles == 2 ? 1 : N == 8 ? 2 : 3;

  static __device__ int columns(const Product& p, int stage) {
    const int left = p.cols - stage * kStageBlocks * kGroup;
    return left < kStageBlocks * kGroup ? left : kStageBlocks * kGroup;
  }
  static __device__ int bytes(const Product& p, int stage) { return kTileRows * columns(p, stage) * 2; }
  static __device__ void bring(uint8_t* to, const Product& p, int tile, int stage, Gate* full, uint64_t policy, int lane) {
    if (lane >= kTileRows) return;
    copy_bulk(to + lane * kRowBytes, p.dense + size_t(tile * kTileRows + lane) * p.cols + stage * kStageBlocks * kGroup, columns(p, stage) * 2, full, policy);
  }

  float acc[Tiles][4] = {};

  // A slice of the stage that begins at step `block`.
  __device__ void add(const uint8_t* stage, const Slice& slice, int block, const Product& p, int lane) {
    if (slice.count == kSliceBlocks && (block + slice.begin + kSliceBlocks) * kGroup <= p.cols) steps<true>(stage, slice, block, p, lane);
    else steps<false>(stage, slice, block, p, lane);
  }

  // `Full`: all steps of the slice are there, and all their columns.
  template <bool Full>
  __device__ void steps(const uint8_t* stage, const Slice& slice, int block, const Product& p, int lane) {
    const int g = lane / 4, t = lane % 4, columns = N == 1 ? 1 : Tiles == 2 ? 8 : tile_columns(p.rows);
    block += slice.begin;
    const auto* x = static_cast<const uint8_t*>(p.prepared) + size_t(block) * columns * kGroup * 2;
    const uint8_t* rows = stage + 2 * g * kRowBytes + slice.begin * kGroup * 2 + t * 16;
#pragma unroll
    for (int step = 0; step < kSliceBlocks; ++step) {
      if (!Full && step >= slice.count) break;
      // Behind a row's end there is anything.
      const bool inside = Full || (block + step) * kGroup + t * 8 < p.cols;
      const uint4 none{0, 0, 0, 0};
      const uint4 first = inside ? load_quad(rows + step * kGroup * 2) : none, second = inside ? load_quad(rows + step * kGroup * 2 + kRowBytes) : none;
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

template <class Type, int N, int Tiles>
__global__ void __launch_bounds__(kBlockThreads, DenseSums<Type, N, Tiles>::kResident) dense_product(const Product p) {
  run_product<DenseSums<Type, N, Tiles>>(p);
}

}  // namespace onesec::cuda
