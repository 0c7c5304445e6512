// How the weights of a product are cut up: a block goes through a tile's columns in stages, of which each warp has a slice.
#pragma once
#include "arguments.h"
#include "device.h"

namespace onesec::cuda {

constexpr int kStageBlocks = 32;                     // blocks of a stage: superblocks of planes, or steps of 32 columns of a dense matrix
constexpr int kSliceBlocks = kStageBlocks / kWarps;  // of a warp, at most

constexpr int stages_of(const Product& p) { return (p.superblocks + kStageBlocks - 1) / kStageBlocks; }
constexpr int blocks_of(const Product& p, int stage) {
  const int left = p.superblocks - stage * kStageBlocks;
  return left < kStageBlocks ? left : kStageBlocks;
}

struct Slice {
  int begin, count;  // blocks; from the stage's first

  __device__ Slice(const Product& p, int stage, int warp) {
    const int blocks = blocks_of(p, stage);
    begin = warp * blocks / kWarps, count = (warp + 1) * blocks / kWarps - begin;
  }
};

}  // namespace onesec::cuda
