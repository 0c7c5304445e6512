// Attention of single tokens: softmax(q · k) · v over the positions that a token sees, in float32. Scores are those of powers
// of two: log2(e) times the natural ones.
//
// The cache's blocks of a sequence go to kSplits thread blocks in turn, a cluster, whatever the token's position. In a thread
// block a position's head is in L lanes, eight values each; such groups of lanes are streams, which go through positions of
// their own for all of G query heads and meet at the end: first in their warp, then in the thread block, then in the first
// one of the cluster. Every sum has one order.
//
// Heads of q and k are normed and turned as they are read. Of this step, whose rows may be one sequence's, are the last
// kMaxRows positions at most: those of its rows come from where the rows lie, and the row itself leaves its own in the cache.
// All others are read while the kernels before this one still run.
#pragma once
#include "heads.h"

namespace onesec::cuda {

constexpr float kNever = -1.0e30f;  // a score below all others, and finite
constexpr float kLog2E = 1.4426950408889634f;

template <int L, int G>
struct AttentionShape {
  static constexpr int kBlockThreads = L == 32 ? 256 : 128, kBlockWarps = kBlockThreads / 32;
  static constexpr int kResident = L == 8 ? 4 : L == 16 ? 3 : 1;  // blocks on a multiprocessor, for the registers
  static constexpr int kStreams = kBlockThreads / L, kRound = kCacheTokens / kStreams;  // positions of a stream in a cache block
  static constexpr int kSize = 8 * L;                                              // of a head, padded
  template <int Count>
  struct Found {
    float totals[Count][G][kSize];
    float2 ends[Count][G];
  };
  struct alignas(16) Shared {
    float queries[G][kSize];  // turned, and times the scale
    Found<kBlockWarps> warps;
    Found<kSplits> splits;  // in the cluster's first block, which they are sent to
    Gate gate;
  };
};

// Of values weighted by 2^(score - top): the highest score, and the sum of the weights.
struct End {
  float top = kNever, weight = 0.0f;
};

// Of head g, values d..d+3: what those of `Count` have found that take part, in their order.
template <int Count, int G, int Size, class Part>
ONESEC_DEVICE End join_all(const float2 (&ends)[Count][G], const float (&totals)[Count][G][Size], int g, int d, Part part, float (&total)[4]) {
  End all;
#pragma unroll
  for (int i = 0; i < Count; ++i)
    if (part(i)) all.top = fmaxf(all.top, ends[i][g].x);
  total[0] = total[1] = total[2] = total[3] = 0.0f;
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    if (!part(i)) continue;
    const float factor = power_of_two(ends[i][g].x - all.top);
    const float4 sums = *reinterpret_cast<const float4*>(&totals[i][g][d]);
    all.weight = fmaf(ends[i][g].y, factor, all.weight);
    total[0] = fmaf(sums.x, factor, total[0]), total[1] = fmaf(sums.y, factor, total[1]);
    total[2] = fmaf(sums.z, factor, total[2]), total[3] = fmaf(sums.w, factor, total[3]);
  }
  return all;
}

// What one lane has of a stream.
template <int L, int G>
struct HeadStream {
  static constexpr int kRound = AttentionShape<L, G>::kRound;

  End ends[G];
  float totals[G][8] = {};

  // A stream's positions of one cache block: the lane's keys and values, and which of them are seen, as bits; `queries` are
  // the lane's of the first head.
  __device__ void add(const float* queries, const uint4 (&keys)[kRound], const uint4 (&values)[kRound], uint32_t seen, float softcap) {
    float scores[kRound][G];
    float k[kRound][8];
#pragma unroll
    for (int i = 0; i < kRound; ++i) eight_floats(keys[i], k[i]);
#pragma unroll
    for (int g = 0; g < G; ++g) {
      float q[8];
      load_eight(queries + g * (8 * L), q);
#pragma unroll
      for (int i = 0; i < kRound; ++i) {
        float sum = q[0] * k[i][0];
#pragma unroll
        for (int d = 1; d < 8; ++d) sum = fmaf(q[d], k[i][d], sum);
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
__global__ void ONESEC_CLUSTER(kSplits) __launch_bounds__(AttentionShape<L, G>::kBlockThreads, AttentionShape<L, G>::kResident) attend(const Attention a) {
  using Shape = AttentionShape<L, G>;
  constexpr int round = Shape::kRound, size = Shape::kSize;
  auto& shared = shared_memory<typename Shape::Shared>();
  if (threadIdx.x == 0) open_gate(&shared.gate, 1), show_gates();
  arrive_at_cluster();
  launch_dependents();
  const int query_blocks = (a.group + G - 1) / G;
  const int split = blockIdx.x % kSplits, row = blockIdx.x / kSplits / (a.kv_heads * query_blocks);
  const int head_block = blockIdx.x / kSplits % (a.kv_heads * query_blocks), kv_head = head_block / query_blocks;
  const int first_query = head_block % query_blocks * G, queries = a.group - first_query < G ? a.group - first_query : G;
  const int lane = threadIdx.x % L, stream_at = threadIdx.x / L;
  const bool inside = lane * 8 < a.head_dim;
  const Seen seen(a, row);
  const int32_t* table = a.tables + size_t(row) * a.table_stride;

  uint4 keys[round], values[round];
  uint32_t there = 0;
  const auto seen_at = [&](int block, int i, int& at) {
    at = block * kCacheTokens + i * Shape::kStreams + stream_at;
    return at >= seen.first && at <= seen.position;
  };
  const auto place = [&](int block, int at) {
    return ((size_t(table[block]) * a.kv_heads + kv_head) * kCacheTokens + at % kCacheTokens) * a.head_dim + lane * 8;
  };
  // The row of this step that is position `at` of the sequence, -1 where that is older.
  const auto row_at = [&](int block, int at) {
    const int other = row - (seen.position - at);
    if (other < 0 || a.positions[other] != at) return -1;
    return a.tables[size_t(other) * a.table_stride + block] == table[block] ? other : -1;
  };
  // The lane's keys and values of a cache block: those that no row of a step can be, and then the others.
  const auto load = [&](int block) {
#pragma unroll
    for (int i = 0; i < round; ++i) {
      int at;
      if (!seen_at(block, i, at) || at + kMaxRows > seen.position) continue;
      there |= 1u << i;
      if (!inside) continue;
      keys[i] = *reinterpret_cast<const uint4*>(a.keys + place(block, at));
      values[i] = *reinterpret_cast<const uint4*>(a.values + place(block, at));
    }
  };
  const auto load_late = [&](int block) {
#pragma unroll
    for (int i = 0; i < round; ++i) {
      int at;
      const bool sees = seen_at(block, i, at) && at + kMaxRows > seen.position;
      if (sees) there |= 1u << i;
      const int source = sees ? row_at(block, at) : -1;
      if (sees && inside && source < 0) {
        keys[i] = *reinterpret_cast<const uint4*>(a.keys + place(block, at));
        values[i] = *reinterpret_cast<const uint4*>(a.values + place(block, at));
      }
      if (__reduce_max_sync(kAllLanes, unsigned(source + 1)) == 0) continue;
      // Lanes without such a row go through this too, for nothing.
      const float* from = a.qkv + size_t(source < 0 ? row : source) * a.qkv_stride;
      float x[8];
      turned<L>(a, from + a.k_offset + kv_head * a.head_dim, a.k_norm, a.k_eps, source < 0 ? seen.position : at, lane, x);
      if (source < 0 || !inside) continue;
      keys[i] = eight_halves(x);
      load_eight(from + a.v_offset + kv_head * a.head_dim + lane * 8, x);
      values[i] = eight_halves(x);
      if (source != row || first_query > 0) continue;
      *reinterpret_cast<uint4*>(a.keys + place(block, at)) = keys[i];
      *reinterpret_cast<uint4*>(a.values + place(block, at)) = values[i];
    }
  };
#pragma unroll
  for (int i = 0; i < round; ++i) keys[i] = values[i] = uint4{0, 0, 0, 0};
  HeadStream<L, G> stream;
  const int first_block = seen.begin(split);
#pragma unroll 1
  for (int block = first_block; block <= seen.last(); block += kSplits) {
    there = 0;
    load(block);
    if (block == first_block) wait_for_previous();
    load_late(block);
    if (block == first_block) {
      // A group of lanes turns a head. Behind the last query comes the last again; its values are not used.
      if (stream_at < G) {
        const int query = kv_head * a.group + first_query + (stream_at < queries ? stream_at : queries - 1);
        float q[8];
        turned<L>(a, a.qkv + size_t(row) * a.qkv_stride + size_t(query) * a.head_dim, a.q_norm, a.q_eps, seen.position, lane, q);
#pragma unroll
        for (int i = 0; i < 8; ++i) shared.queries[stream_at][lane * 8 + i] = q[i] * (a.scale * kLog2E);
      }
      meet<Shape::kBlockThreads>();
    }
    const int next = block + kSplits;
    if (inside && next <= seen.last()) {  // on its way while this one is used
#pragma unroll
      for (int i = 0; i < round; ++i) {
        const size_t at = place(next, i * Shape::kStreams + stream_at);
        touch(a.keys + at, 1, 0, 1), touch(a.values + at, 1, 0, 1);
      }
    }
    stream.add(&shared.queries[0][lane * 8], keys, values, there, a.softcap);
  }
  if (first_block > seen.last()) wait_for_previous();
#pragma unroll
  for (int distance = L; distance < 32; distance *= 2) stream.join(distance);

  // The warps' streams in shared memory; then a thread has four values of a head.
  const int warp = threadIdx.x / 32;
  if (threadIdx.x % 32 < L) {
#pragma unroll
    for (int g = 0; g < G; ++g) {
      if (lane == 0) shared.warps.ends[warp][g] = {stream.ends[g].top, stream.ends[g].weight};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float* from = stream.totals[g] + 4 * half;
        *reinterpret_cast<float4*>(&shared.warps.totals[warp][g][lane * 8 + 4 * half]) = float4{from[0], from[1], from[2], from[3]};
      }
    }
  }
  meet<Shape::kBlockThreads>();
  const int at = threadIdx.x * 4, g = at / size, d = at % size;
  const bool mine = at < G * size, part = seen.takes_part(split);
  float total[4];
  End joined;
  if (mine && part) joined = join_all<Shape::kBlockWarps>(shared.warps.ends, shared.warps.totals, g, d, [](int) { return true; }, total);
  wait_for_cluster();
  if (mine && part) {
    send(float4{total[0], total[1], total[2], total[3]}, reinterpret_cast<float4*>(&shared.splits.totals[split][g][d]), &shared.gate, 0);
    if (d == 0) send(float2{joined.top, joined.weight}, &shared.splits.ends[split][g], &shared.gate, 0);
  }
  if (split != 0 || !mine) return;
  if (threadIdx.x == 0) expect_bytes(&shared.gate, seen.splits() * static_cast<int>(sizeof shared.splits / kSplits));
  wait_at(&shared.gate, 0);
  joined = join_all<kSplits>(shared.splits.ends, shared.splits.totals, g, d, [&](int s) { return seen.takes_part(s); }, total);
  if (g >= queries || d >= a.head_dim) return;
  float* out = a.out + (size_t(row) * a.kv_heads + kv_head) * a.group * a.head_dim + size_t(first_query + g) * a.head_dim + d;
  *reinterpret_cast<float4*>(out) = float4{total[0] / joined.weight, total[1] / joined.weight, total[2] / joined.weight, total[3] / joined.weight};
}

// launch(kernel, blocks, threads, shared bytes).
template <class Launch>
auto launch_attention(const Attention& a, Launch launch) {
  const auto of = [&]<int L, int G>() {
    using Shape = AttentionShape<L, G>;
    return launch(attend<L, G>, a.rows * a.kv_heads * ((a.group + G - 1) / G) * kSplits, Shape::kBlockThreads, sizeof(typename Shape::Shared));
  };
  if (a.head_dim > 128) return of.template operator()<32, 4>();
  if (a.head_dim > 64) return of.template operator()<16, 4>();
  return of.template operator()<8, 4>();
}

}  // namespace onesec::cuda
