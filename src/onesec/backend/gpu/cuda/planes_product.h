// The product of nibble planes (native/planes.h) and int8 activations on tensor cores, in the decode arithmetic of the
// CPU: exact int32 sums of a group, then float32 along K.
//
// The planes' bytes are tensor-core fragments as they lie. For mma.m16n8k32 a lane (g = lane / 4, t = lane % 4) needs of
// two rows eight of the group's columns: row 2g's word of line t is its columns 8t..8t+3 in the low nibbles and
// 8t+4..8t+7 in the high ones, and the next word is row 2g+1's. (Which columns of the group a lane holds does not matter
// as long as the activations agree; which of the tile's rows are the fragment's rows g and g + 8 is our choice.)
//
// A fragment has 8 columns of activations. A step of fewer rows would waste them: so with N columns in use, P = 8 / N
// groups share a fragment, each meeting zeros in the columns of the others. After P products column N * s + m holds the
// sum of group s and row m, and the float arithmetic, which outweighs all else, is done for 8 useful sums at once.
// A row's bits do not depend on N: every group of an octet has a sum of its own along K, and these meet in one tree.
#pragma once
#include "stream.h"

namespace onesec::cuda {

constexpr int kOctet = 2 * kSliceBlocks;  // groups of a slice

ONESEC_DEVICE uint2 load_pair(const uint8_t* at) { return *reinterpret_cast<const uint2*>(at); }

// Sixteen rows' codes of a group as the fragment of an mma.
template <int Width>
ONESEC_DEVICE void unpack(uint2 hi, uint2 lo, uint32_t (&a)[4]) {
  constexpr uint32_t low = 0x0f0f0f0fu, high = 0xf0f0f0f0u;
  if (Width == 4) {
    a[0] = hi.x & low, a[1] = hi.y & low, a[2] = (hi.x >> 4) & low, a[3] = (hi.y >> 4) & low;
  } else {
    a[0] = ((hi.x << 4) & high) | (lo.x & low), a[1] = ((hi.y << 4) & high) | (lo.y & low);
    a[2] = (hi.x & high) | ((lo.x >> 4) & low), a[3] = (hi.y & high) | ((lo.y >> 4) & low);
  }
}

// Two bytes as floats, by the exponent that gives the last bit of the mantissa the value `Unit`: 1, or 1/16 for the
// scales of the 8-bit width, whose codes are sixteenths of a step.
template <int Width>
ONESEC_DEVICE float2 two_floats(const uint8_t* at) {
  constexpr uint32_t bits = Width == 4 ? 0x4b000000u : 0x49000000u;
  const uint32_t pair = *reinterpret_cast<const uint16_t*>(at);
  return {__uint_as_float(bits | (pair & 255)) - __uint_as_float(bits), __uint_as_float(bits | (pair >> 8)) - __uint_as_float(bits)};
}

template <int Width, int N, int Tiles>
struct PlaneSums {
  using Form = QuantizedForm;
  static constexpr int kColumns = N, kRowTiles = Tiles;
  static constexpr int kHiStage = kStageBlocks * kHiBytes, kStageBytes = kHiStage + (Width == 8 ? kStageBlocks * kLoBytes : 0);
  static constexpr int kSlots = N == 1 ? kMostSlots : Width == 8 ? 2 : 3;  // then activations of several rows fit in the multiprocessor's cache
  // Blocks on a multiprocessor, for the registers.
  static constexpr int kResident = Tiles == 2 ? 1 : N > 1 ? 2 : 4;

  static __device__ int bytes(const Product& p, int stage) { return blocks_of(p, stage) * (kHiBytes + (Width == 8 ? kLoBytes : 0)); }
  static __device__ void bring(uint8_t* to, const Product& p, int tile, int stage, Gate* full, uint64_t policy, int lane) {
    const int blocks = blocks_of(p, stage);
    const size_t at = size_t(tile) * p.superblocks + stage * kStageBlocks;
    if (lane == 0) copy_bulk(to, p.hi + at * kHiBytes, blocks * kHiBytes, full, policy);
    if (Width == 8 && lane == 1) copy_bulk(to + kHiStage, p.lo + at * kLoBytes, blocks * kLoBytes, full, policy);
  }

  static constexpr int P = kOctet / N;
  float acc[Tiles][N][4] = {};  // [row tile][step of P groups][c fragment]

  // A slice of the stage that begins at superblock `block`.
  __device__ void add(const uint8_t* stage, const Slice& slice, int block, const Product& p, int lane) {
    block += slice.begin;
    if (N == 8 && Tiles == 1) lane = fresh(lane);
    const int groups = 2 * p.superblocks;
    const Activations x{static_cast<const uint8_t*>(p.prepared) + 2 * block * N * kGroup, groups * N * kGroup - 2 * block * N * (kGroup - int(sizeof(Meta))),
                        groups * N * (kGroup + int(sizeof(Meta))) - 2 * block * N * (kGroup - int(sizeof(int32_t))), int(Quantized::bytes(groups, N))};
    const uint8_t *hi = stage + slice.begin * kHiBytes, *lo = stage + kHiStage + slice.begin * kLoBytes;
    constexpr bool both = Tiles == 1 && (Width == 4 || N < 8);  // for the registers
    if (both && slice.count == kSliceBlocks) octet<both>(hi, lo, slice.count, x, lane);
    else octet<false>(hi, lo, slice.count, x, lane);
  }

  // Where those of the slice begin: a Quantized with one pointer, for the registers.
  struct Activations {
    const uint8_t* q;
    int meta, start, tile;  // bytes from there on; and of a row tile
  };

  // `Full`: all superblocks of the stage are there; else `count` of them.
  template <bool Full>
  __device__ void octet(const uint8_t* hi, const uint8_t* lo, int count, const Activations& x, int lane) {
    const int g = lane / 4, t = lane % 4;
    // The lane's words of line `from` + t, where `from` is constant.
    const auto words = [&](const uint8_t* plane, int from) { return load_pair(plane + from * 64 + (t * 64 + g * 8)); };
#pragma unroll
    for (int step = 0; step < N; ++step) {
      const int b_block = (step * P + g / N) / 2, c_group = step * P + 2 * t / N, c_block = c_group / 2;
      int c[Tiles][4], other[Tiles][4] = {};  // two chains of products, where there are several
      uint2 b[Tiles];
#pragma unroll
      for (int tile = 0; tile < Tiles; ++tile) {
        b[tile] = Full || b_block < count ? *reinterpret_cast<const uint2*>(x.q + tile * x.tile + step * 256 + lane * 8) : uint2{0, 0};
        int2 start{kFloatOrigin, kFloatOrigin};
        if (Width == 8 && (Full || c_block < count)) start = *reinterpret_cast<const int2*>(x.q + x.start + tile * x.tile + (step * 8 + 2 * t) * int(sizeof(int32_t)));
        c[tile][0] = c[tile][2] = start.x, c[tile][1] = c[tile][3] = start.y;
      }
#pragma unroll
      for (int s = 0; s < P; ++s) {
        const int group = step * P + s, sb = group / 2;
        if (!Full && sb >= count) continue;
        const int hi_line = sb * (kHiBytes / 64) + group % 2 * 4, lo_line = sb * (kLoBytes / 64) + group % 2 * 4;
        uint32_t a[4];
        unpack<Width>(words(hi, hi_line), Width == 8 ? words(lo, lo_line) : uint2{0, 0}, a);
#pragma unroll
        for (int tile = 0; tile < Tiles; ++tile) multiply(s % 2 ? other[tile] : c[tile], a, g / N == s ? b[tile] : uint2{0, 0});
      }
      if (P > 1)
#pragma unroll
        for (int tile = 0; tile < Tiles; ++tile)
#pragma unroll
          for (int i = 0; i < 4; ++i) c[tile][i] += other[tile][i];
      // Columns 2t and 2t + 1 are two rows of one group, but with N = 1 the two groups of one superblock. Groups that a
      // short stage lacks add zeros: so all lanes stay together, as the next mma needs them.
      const int line = c_block * (kHiBytes / 64) + kScaleLine / 64;
      const uint8_t* scales = hi + line * 64;
      Meta meta[Tiles][2];
#pragma unroll
      for (int tile = 0; tile < Tiles; ++tile) {
        float4 two{0.0f, 0.0f, 0.0f, 0.0f};
        if (Full || c_block < count) two = *reinterpret_cast<const float4*>(x.q + x.meta + tile * x.tile + (step * 8 + 2 * t) * int(sizeof(Meta)));
        meta[tile][0] = {two.x, two.y}, meta[tile][1] = {two.z, two.w};
      }
#pragma unroll
      for (int column = 0; column < 2; ++column) {
        const int at = (N == 1 ? column : c_group % 2) * kTileRows + 2 * g;
        const float2 scale = two_floats<Width>(scales + at);
        const float2 minimum = two_floats<4>(scales + 2 * kTileRows + at);
#pragma unroll
        for (int tile = 0; tile < Tiles; ++tile) {
          add_group(acc[tile][step][column], c[tile][column], scale.x, minimum.x, meta[tile][column]);
          add_group(acc[tile][step][2 + column], c[tile][2 + column], scale.y, minimum.y, meta[tile][column]);
        }
      }
    }
  }

  static __device__ void add_group(float& acc, int sum, float scale, float minimum, Meta meta) {
    acc = fmaf((__int_as_float(sum) - kOrigin) * scale, meta.scale, acc);
    acc = fmaf(minimum, meta.offset, acc);
  }

  // ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)) of the groups of an octet, wherever they are.
  __device__ void total(float (&out)[Tiles][4]) const {
#pragma unroll
    for (int tile = 0; tile < Tiles; ++tile)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float(&a)[N][4] = acc[tile];
        float& sum = out[tile][i];
        if constexpr (N == 8) {
          sum = ((a[0][i] + a[1][i]) + (a[2][i] + a[3][i])) + ((a[4][i] + a[5][i]) + (a[6][i] + a[7][i]));
        } else if constexpr (N == 4) {
          sum = (across(a[0][i], 2) + across(a[1][i], 2)) + (across(a[2][i], 2) + across(a[3][i], 2));
        } else if constexpr (N == 2) {
          sum = across(across(a[0][i], 1), 2) + across(across(a[1][i], 1), 2);
        } else {
          sum = across(across(a[0][i / 2 * 2] + a[0][i / 2 * 2 + 1], 1), 2);
        }
      }
  }
  static __device__ float across(float x, int lanes) { return x + __shfl_xor_sync(kAllLanes, x, lanes); }
};

template <int Width, int N, int Tiles>
__global__ void __launch_bounds__(kBlockThreads, PlaneSums<Width, N, Tiles>::kResident) planes_product(const Product p) {
  run_product<PlaneSums<Width, N, Tiles>>(p);
}

}  // namespace onesec::cuda
