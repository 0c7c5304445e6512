// The planes of a whole matrix as bf16 or half values, for prompts: their many rows are multiplied by the library.
//
// A warp opens a superblock, four rows at a time: eight lanes share a row, each has eight neighbouring columns of it, the
// word of one line, and writes 16 bytes into `feed` [rows][cols]. The values are native/planes.h's, rounded once.
#pragma once
#include "arguments.h"
#include "device.h"

namespace onesec::cuda {

template <class Type, int Width>
__global__ void __launch_bounds__(kThreads) open_planes(const Product p) {
  wait_for_previous();  // whose results may lie where these will
  auto* out = static_cast<uint16_t*>(p.feed);
  const int warp = blockIdx.x * kWarps + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (warp >= p.units * p.superblocks) return;
  const int tile = warp / p.superblocks, block = warp % p.superblocks, line = lane % 8, group = line / 4;
  const uint8_t* hi = p.hi + size_t(warp) * kHiBytes;
  const uint8_t* lo = p.lo + size_t(warp) * kLoBytes;
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    const int row = step * 4 + lane / 8, at = line * 64 + row * 4;
    const uint32_t high = *reinterpret_cast<const uint32_t*>(hi + at);
    uint32_t low = 0;
    if (Width == 8) low = *reinterpret_cast<const uint32_t*>(lo + at);
    const float unit = p.row_scale[tile * kTileRows + row];
    const float scale = unit * float(hi[kScaleLine + group * kTileRows + row]) * (Width == 8 ? 0.0625f : 1.0f);
    const float minimum = unit * float(kMinimumUnit) * float(hi[kScaleLine + (2 + group) * kTileRows + row]);
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 8; i += 2) {
      uint32_t pair = 0;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int shift = (i + j) % 4 * 8 + (i + j) / 4 * 4;
        int code = int(high >> shift & 15);
        if (Width == 8) code = 16 * code + int(low >> shift & 15) - kResidualZero;
        pair |= uint32_t(Type::round(float(code) * scale - minimum)) << (16 * j);
      }
      words[i / 2] = pair;
    }
    const int column = block * kSuperblock + line * 8;
    uint16_t* to = out + size_t(tile * kTileRows + row) * p.cols + column;
    if (p.cols % 8 == 0) {
      if (column < p.cols) *reinterpret_cast<uint4*>(to) = uint4{words[0], words[1], words[2], words[3]};
    } else {
      for (int i = 0; i < 8; ++i)
        if (column + i < p.cols) to[i] = uint16_t(words[i / 2] >> (16 * (i % 2)));
    }
  }
}

}  // namespace onesec::cuda
