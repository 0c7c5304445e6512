// Attention of single tokens: softmax(q · k) · v over the positions that a token sees, in float32. Scores are those of powers
// of two: log2(e) times the natural ones.
//
// The cache's blocks of a sequence go to kSplits thread blocks in turn, whatever the token's position. In a thread block a
// position's head is in L lanes, eight values each; such groups of lanes are streams, which go through positions of their own
// for all of G query heads and meet at the end: first in their warp, then in the thread block, then, in the split that comes
// last, with the other splits. Every sum has one order.
//
// What earlier steps have left in the cache is read while the kernels before this one still run: of this step, whose rows
// may be one sequence's, are the last kMaxRows positions at most.
#pragma once
#include "arguments.h"
#include "arrive.h"

namespace onesec::cuda {

constexpr float kNever = -1.0e30f;  // a score below all others, and finite
constexpr float kLog2E = 1.4426950408889634f;

template <int L, int G>
struct AttentionShape {
  static constexpr int kBlockThreads = L * G >= 128 ? 256 : 128, kBlockWarps = kBlockThreads / 32;
  static constexpr int kStreams = kBlockThreads / L, kRound = kCacheTokens / kStreams;  // positions of a stream in a cache block
  static constexpr int kSize = 8 * L;                                                    // of a head, padded
  struct Shared {
    alignas(16) float totals[kBlockWarps][G][kSize];
    float2 ends[kBlockWarps][G];
    int scratch;
  };
};

// Of values weighted by 2^(score - top): the highest score, and the sum of the weights.
struct End {
  float top = kNever, weight = 0.0f;
};

// `Count` ends and four sums of each, in their order.
template <int Count>
ONESEC_DEVICE End join_all(const float2 (&ends)[Count], const float4 (&found)[Count], float (&total)[4]) {
  End all;
#pragma unroll
  for (int i = 0; i < Count; ++i) all.top = fmaxf(all.top, ends[i].x);
  total[0] = total[1] = total[2] = total[3] = 0.0f;
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    const float factor = power_of_two(ends[i].x - all.top);
    all.weight = fmaf(ends[i].y, factor, all.weight);
    total[0] = fmaf(found[i].x, factor, total[0]), total[1] = fmaf(found[i].y, factor, total[1]);
    total[2] = fmaf(found[i].z, factor, total[2]), total[3] = fmaf(found[i].w, factor, total[3]);
  }
  return all;
}

ONESEC_DEVICE void eight_floats(uint4 packed, float (&out)[8]) {
  const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 two = widen_halves(words[i]);
    out[2 * i] = two.x, out[2 * i + 1] = two.y;
  }
}

// What one lane has of a stream.
template <int L, int G>
struct HeadStream {
  static constexpr int kRound = AttentionShape<L, G>::kRound;

  float q[G][8];
  End ends[G];
  float totals[G][8] = {};

  // A stream's positions of one cache block: the lane's keys and values, and which of them are seen, as bits.
  __device__ void add(const uint4 (&keys)[kRound], const uint4 (&values)[kRound], uint32_t seen, float softcap) {
    float scores[kRound][G];
#pragma unroll
    for (int i = 0; i < kRound; ++i) {
      float k[8];
      eight_floats(keys[i], k);
#pragma unroll
      for (int g = 0; g < G; ++g) {
        float sum = q[g][0] * k[0];
#pragma unroll
        for (int d = 1; d < 8; ++d) sum = fmaf(q[g][d], k[d], sum);
        scores[i][g] = sum;
      }
    }
#pragma unroll
    for (int distance = L / 2; distance > 0; distance /= 2)
#pragma unroll
      for (int i = 0; i < kRound; ++i)
#pragma unroll
        for (int g = 0; g < G; ++g) scores[i][g] += __shfl_xor_sync(kAllLanes, scores[i][g], distance);
#pragma unroll
    for (int g = 0; g < G; ++g) {
      float top = ends[g].top;
#pragma unroll
      for (int i = 0; i < kRound; ++i) {
        if (softcap > 0.0f) scores[i][g] = softcap * kLog2E * tanhf(scores[i][g] / (softcap * kLog2E));
        if (!(seen >> i & 1)) scores[i][g] = kNever;
        top = fmaxf(top, scores[i][g]);
      }
      const float shrink = power_of_two(ends[g].top - top);
      float weight = ends[g].weight * shrink;
#pragma unroll
      for (int i = 0; i < kRound; ++i) {
        scores[i][g] = seen >> i & 1 ? power_of_two(scores[i][g] - top) : 0.0f;
        weight += scores[i][g];
      }
#pragma unroll
      for (int d = 0; d < 8; ++d) totals[g][d] *= shrink;
      ends[g] = {top, weight};
    }
#pragma unroll
    for (int i = 0; i < kRound; ++i) {
      float v[8];
      eight_floats(values[i], v);
#pragma unroll
      for (int g = 0; g < G; ++g)
#pragma unroll
        for (int d = 0; d < 8; ++d) totals[g][d] = fmaf(scores[i][g], v[d], totals[g][d]);
    }
  }

  // With the stream `distance` lanes away, in both.
  __device__ void join(int distance) {
#pragma unroll
    for (int g = 0; g < G; ++g) {
      const float top = __shfl_xor_sync(kAllLanes, ends[g].top, distance), weight = __shfl_xor_sync(kAllLanes, ends[g].weight, distance);
      const float higher = fmaxf(top, ends[g].top), mine = power_of_two(ends[g].top - higher), theirs = power_of_two(top - higher);
      ends[g] = {higher, ends[g].weight * mine + weight * theirs};
#pragma unroll
      for (int d = 0; d < 8; ++d) totals[g][d] = totals[g][d] * mine + __shfl_xor_sync(kAllLanes, totals[g][d], distance) * theirs;
    }
  }
};

// Which cache blocks a split takes of those that a token sees.
struct Seen {
  int position, first;  // positions first..position

  __device__ Seen(const Attention& a, int row) : position(a.positions[row]), first(a.window > 0 && position >= a.window ? position + 1 - a.window : 0) {}
  __device__ int begin(int split) const {
    const int block = first / kCacheTokens;
    return block + (split - block % kSplits + kSplits) % kSplits;
  }
  __device__ int last() const { return position / kCacheTokens; }
  __device__ bool takes_part(int split) const { return begin(split) <= last(); }
  __device__ int splits() const {
    const int blocks = last() - first / kCacheTokens + 1;
    return blocks < kSplits ? blocks : kSplits;
  }
};

template <int L, int G>
__global__ void __launch_bounds__(AttentionShape<L, G>::kBlockThreads) attend(const Attention a) {
  using Shape = AttentionShape<L, G>;
  constexpr int round = Shape::kRound, size = Shape::kSize, warps = Shape::kBlockWarps;
  ONESEC_SHARED(memory);
  auto& shared = *reinterpret_cast<typename Shape::Shared*>(memory);
  launch_dependents();
  const int query_blocks = (a.group + G - 1) / G;
  const int split = blockIdx.x % kSplits, row = blockIdx.x / kSplits / (a.kv_heads * query_blocks);
  const int head_block = blockIdx.x / kSplits % (a.kv_heads * query_blocks), kv_head = head_block / query_blocks;
  const int first_query = head_block % query_blocks * G, queries = a.group - first_query < G ? a.group - first_query : G;
  const int lane = threadIdx.x % L, stream_at = threadIdx.x / L;
  const Seen seen(a, row);
  const bool inside = lane * 8 < a.head_dim;

  uint4 keys[round], values[round], next_keys[round], next_values[round];
  uint32_t there = 0, next_there = 0;
  // The lane's keys and values of a cache block: those of earlier steps where `old`, those of this one where `fresh`.
  const auto load = [&](int block, bool old, bool fresh, uint4 (&k)[round], uint4 (&v)[round], uint32_t& bits) {
    const size_t base = (size_t(a.tables[size_t(row) * a.table_stride + block]) * a.kv_heads + kv_head) * kCacheTokens;
#pragma unroll
    for (int i = 0; i < round; ++i) {
      const int at = block * kCacheTokens + i * Shape::kStreams + stream_at;
      if (at < seen.first || at > seen.position || !(at + kMaxRows <= seen.position ? old : fresh)) continue;
      bits |= 1u << i;
      if (!inside) continue;
      const size_t place = (base + at % kCacheTokens) * a.head_dim + lane * 8;
      k[i] = *reinterpret_cast<const uint4*>(a.keys + place);
      v[i] = *reinterpret_cast<const uint4*>(a.values + place);
    }
  };
  const auto clear = [&](uint4 (&k)[round], uint4 (&v)[round]) {
#pragma unroll
    for (int i = 0; i < round; ++i) k[i] = v[i] = uint4{0, 0, 0, 0};
  };
  clear(keys, values);
  clear(next_keys, next_values);
  int block = seen.begin(split);
  if (block <= seen.last()) load(block, true, false, keys, values, there);
  wait_for_previous();
  if (block > seen.last()) return;
  load(block, false, true, keys, values, there);

  HeadStream<L, G> stream;
  const float scale = a.scale * kLog2E;
  const float* q = a.qkv + size_t(row) * a.qkv_stride + size_t(kv_head * a.group + first_query) * a.head_dim + lane * 8;
#pragma unroll
  for (int g = 0; g < G; ++g)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float4 four{0.0f, 0.0f, 0.0f, 0.0f};
      if (g < queries && inside) four = *reinterpret_cast<const float4*>(q + size_t(g) * a.head_dim + 4 * half);
      float* to = stream.q[g] + 4 * half;
      to[0] = four.x * scale, to[1] = four.y * scale, to[2] = four.z * scale, to[3] = four.w * scale;
    }
#pragma unroll 1
  for (; block <= seen.last(); block += kSplits) {
    next_there = 0;
    if (block + kSplits <= seen.last()) load(block + kSplits, true, true, next_keys, next_values, next_there);
    stream.add(keys, values, there, a.softcap);
#pragma unroll
    for (int i = 0; i < round; ++i) keys[i] = next_keys[i], values[i] = next_values[i];
    there = next_there;
  }
#pragma unroll
  for (int distance = L; distance < 32; distance *= 2) stream.join(distance);

  // The warps' streams in shared memory; then a thread has four values of a head.
  const int warp = threadIdx.x / 32;
  if (threadIdx.x % 32 < L) {
#pragma unroll
    for (int g = 0; g < G; ++g) {
      if (lane == 0) shared.ends[warp][g] = {stream.ends[g].top, stream.ends[g].weight};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float* from = stream.totals[g] + 4 * half;
        *reinterpret_cast<float4*>(&shared.totals[warp][g][lane * 8 + 4 * half]) = float4{from[0], from[1], from[2], from[3]};
      }
    }
  }
  __syncthreads();
  const int at = threadIdx.x * 4, g = at / size, d = at % size;
  const bool mine = at < G * size;
  const size_t whose = size_t(row) * (a.kv_heads * query_blocks) + head_block;
  float* parts = a.parts + whose * kSplits * G * (size + 2);          // [splits][G][size], then
  auto* ends = reinterpret_cast<float2*>(parts + kSplits * G * size);  // [splits][G]
  float* out = a.out + (size_t(row) * a.kv_heads + kv_head) * a.group * a.head_dim + size_t(first_query) * a.head_dim;
  const auto leave = [&](const float (&total)[4], float weight) {
    if (g >= queries || d >= a.head_dim) return;
    *reinterpret_cast<float4*>(out + size_t(g) * a.head_dim + d) = float4{total[0] / weight, total[1] / weight, total[2] / weight, total[3] / weight};
  };
  const int splits = seen.splits();
  if (mine) {
    float2 end[warps];
    float4 found[warps];
#pragma unroll
    for (int w = 0; w < warps; ++w) end[w] = shared.ends[w][g], found[w] = *reinterpret_cast<const float4*>(&shared.totals[w][g][d]);
    float total[4];
    const End joined = join_all(end, found, total);
    if (splits > 1) {
      *reinterpret_cast<float4*>(parts + size_t(split) * G * size + at) = float4{total[0], total[1], total[2], total[3]};
      if (d == 0) ends[split * G + g] = {joined.top, joined.weight};
    } else {
      leave(total, joined.weight);
    }
  }
  if (splits == 1 || !last_of(splits, a.arrived + whose, &shared.scratch) || !mine) return;
  float2 end[kSplits];
  float4 found[kSplits];
#pragma unroll
  for (int s = 0; s < kSplits; ++s) {
    const bool part = seen.takes_part(s);
    end[s] = part ? load_fresh(ends + s * G + g) : float2{kNever, 0.0f};
    found[s] = part ? load_fresh(reinterpret_cast<const float4*>(parts + size_t(s) * G * size + at)) : float4{0.0f, 0.0f, 0.0f, 0.0f};
  }
  float total[4];
  const End joined = join_all(end, found, total);
  leave(total, joined.weight);
}

// run<L, G>(how many groups of heads a row has) with the shape of the kernel for these heads.
template <class Run>
auto with_attention_shape(const Attention& a, Run run) {
  const auto of = [&]<int L, int G>() { return run.template operator()<L, G>(a.kv_heads * ((a.group + G - 1) / G)); };
  if (a.head_dim > 128) return of.template operator()<32, 4>();  // for the registers
  if (a.head_dim > 64) return a.group <= 4 ? of.template operator()<16, 4>() : of.template operator()<16, 8>();
  return a.group <= 4 ? of.template operator()<8, 4>() : of.template operator()<8, 8>();
}

// launch(kernel, blocks, threads, shared bytes).
template <class Launch>
auto launch_attention(const Attention& a, Launch launch) {
  return with_attention_shape(a, [&]<int L, int G>(int head_blocks) {
    using Shape = AttentionShape<L, G>;
    return launch(attend<L, G>, a.rows * head_blocks * kSplits, Shape::kBlockThreads, sizeof(typename Shape::Shared));
  });
}

// Floats that `parts` has to hold.
inline size_t attention_floats(const Attention& a) {
  return with_attention_shape(a, [&]<int L, int G>(int head_blocks) {
    return size_t(a.rows) * size_t(head_blocks) * kSplits * G * (AttentionShape<L, G>::kSize + 2);
  });
}

}  // namespace onesec::cuda
