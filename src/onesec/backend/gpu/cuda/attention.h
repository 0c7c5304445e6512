// Attention of single tokens: softmax(q · k) · v over the positions that a token sees, in float32. Scores are those of powers
// of two: log2(e) times the natural ones.
//
// The cache's blocks of a sequence go to kSplits thread blocks in turn, a cluster, whatever the token's position. A thread
// block has some query heads of one kv head, and brings a cache block's keys and values into shared memory as they lie. A
// query head has kParts warps, each an equal part of the positions: there a lane first has a quarter of a position's key,
// then some values of the head over all the part's positions. (A warp alone takes six cycles an instruction: what counts is
// how few follow one another.) The parts meet in the thread block, the splits in the first of the cluster. Every sum has
// one order.
//
// Heads of q and k are normed and turned as they are read. Of this step, whose rows may be one sequence's, are the last
// kMaxRows positions at most: those of its rows come from where the rows lie, and the row itself leaves its own in the cache.
// All others are read while the kernels before this one still run.
#pragma once
#include "heads.h"
#include "prepare.h"

namespace onesec::cuda {

constexpr float kNever = -1.0e30f;  // a score below all others, and finite
constexpr float kLog2E = 1.4426950408889634f;
constexpr int kQueries = 4, kParts = 4, kAttentionWarps = kQueries * kParts, kAttentionThreads = 32 * kAttentionWarps;
constexpr int kPartTokens = kCacheTokens / kParts;  // a position's lanes are so many apart
constexpr int kCacheSlots = 2;                      // blocks of the cache that are in shared memory at once

template <int Size>  // of a head, padded
struct AttentionMemory {
  alignas(128) uint16_t keys[kCacheSlots][kCacheTokens * Size], values[kCacheSlots][kCacheTokens * Size];  // [token][head_dim]
  struct Found {  // by a part, or a split
    float2 ends[kQueries];  // the highest score, and the weights' sum
    float totals[kQueries][Size];
  };
  alignas(16) float queries[kQueries][2][Size / 2];  // turned, times the scale; fours in turn, so that lanes read different banks
  float weights[kAttentionWarps][kPartTokens];
  Found parts[kParts];
  Found splits[kSplits];  // in the cluster's first block, which they are sent to
  Gate full[kCacheSlots], found;
};

// Of head g, values d and d + 1: what those of `Count` have found that take part, in their order.
template <int Size, int Count, class Part>
ONESEC_DEVICE float2 join_all(const typename AttentionMemory<Size>::Found (&all)[Count], int g, int d, Part part, float (&total)[2]) {
  float top = kNever, weight = 0.0f;
#pragma unroll
  for (int i = 0; i < Count; ++i)
    if (part(i)) top = fmaxf(top, all[i].ends[g].x);
  total[0] = total[1] = 0.0f;
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    if (!part(i)) continue;
    const float2 end = all[i].ends[g];
    const float factor = power_of_two(end.x - top);
    float sums[2];
    load_floats(all[i].totals[g] + d, sums);
    weight = fmaf(end.y, factor, weight);
    total[0] = fmaf(sums[0], factor, total[0]), total[1] = fmaf(sums[1], factor, total[1]);
  }
  return {top, weight};
}

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

// Bit i: the position i before a row's is that of the i-th row before it. All lanes of a warp ask, and get it.
ONESEC_DEVICE uint32_t rows_before(const Attention& a, int row, int position, int lane) {
  const int other = row - lane, at = position - lane, block = at / kCacheTokens;
  bool is = lane < kMaxRows && other >= 0 && at >= 0 && a.positions[other < 0 ? 0 : other] == at;
  if (is) is = a.tables[size_t(other) * a.table_stride + block] == a.tables[size_t(row) * a.table_stride + block];
  return static_cast<uint32_t>(__reduce_add_sync(kAllLanes, is ? 1 << lane : 0));
}

template <int Size, bool Alone>  // whether of a single row: see launch.cu
__global__ void ONESEC_CLUSTER(kSplits) __launch_bounds__(kAttentionThreads, Size > 128 ? 1 : 2) attend(const Attention a) {
  constexpr int own = Size / 32;  // values of a head, of a lane
  auto& shared = shared_memory<AttentionMemory<Size>>();
  if (threadIdx.x == 0) {
    for (Gate& gate : shared.full) open_gate(&gate, 1);
    open_gate(&shared.found, 1);
    show_gates();
  }
  __syncwarp();
  arrive_at_cluster();
  launch_dependents();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int query_blocks = (a.group + kQueries - 1) / kQueries, all = blockIdx.x / kSplits, split = blockIdx.x % kSplits;
  const int row = Alone ? 0 : all / (a.kv_heads * query_blocks), head_block = all - row * (a.kv_heads * query_blocks);
  const int kv_head = query_blocks > 1 ? head_block / query_blocks : head_block, first_query = (head_block - kv_head * query_blocks) * kQueries;
  const int queries = a.group - first_query < kQueries ? a.group - first_query : kQueries;
  const Seen seen(a, row);
  const int32_t* table = a.tables + size_t(row) * a.table_stride;
  const int first_block = seen.begin(split), last_block = seen.last();
  const auto place = [&](int block) { return (size_t(table[block]) * a.kv_heads + kv_head) * (kCacheTokens * a.head_dim); };
  const auto bring = [&](int block, int slot) {  // by one thread
    const int bytes = kCacheTokens * a.head_dim * 2;
    const size_t at = place(block);
    expect_bytes(&shared.full[slot], 2 * bytes);
    copy_bulk(shared.keys[slot], a.keys + at, bytes, &shared.full[slot], evict_normal());
    copy_bulk(shared.values[slot], a.values + at, bytes, &shared.full[slot], evict_normal());
  };
  if (threadIdx.x == 0)
    for (int slot = 0; slot < kCacheSlots; ++slot)
      if (first_block + slot * kSplits <= last_block) bring(first_block + slot * kSplits, slot);
  const uint32_t rows = rows_before(a, row, seen.position, lane);
  if (a.rotary) touch(a.rotary + size_t(seen.position) * (2 * a.half), 2 * a.half * int(sizeof(float)), threadIdx.x, kAttentionThreads);
  meet<kAttentionThreads>();  // the gates are open
  wait_for_previous();

  // Query head `g` as keys meet it. Behind the last query comes the last again; its values are not used.
  const auto turn_query = [&](int g) {
    const int query = kv_head * a.group + first_query + (g < queries ? g : queries - 1);
    float q[own];
    turned(a, a.qkv + size_t(row) * a.qkv_stride + size_t(query) * a.head_dim, a.q_norm, a.q_eps, seen.position, lane, q);
#pragma unroll
    for (int i = 0; i < own; ++i) {
      const int d = lane * own + i;
      shared.queries[g][d / 4 % 2][d / 8 * 4 + d % 4] = q[i] * (a.scale * kLog2E);
    }
  };
  // The keys and values of the i-th row before this one, where they lie in the slot; this row's in the cache too.
  const auto turn_row = [&](int i, int slot) {
    const float* from = a.qkv + size_t(row - i) * a.qkv_stride + kv_head * a.head_dim;
    const int at = seen.position - i, to = at % kCacheTokens * a.head_dim + lane * own;
    float x[own], y[own] = {};
    uint32_t key[own / 2], value[own / 2];
    if (lane * own < a.head_dim) load_floats(from + a.v_offset + lane * own, y);
    turned(a, from + a.k_offset, a.k_norm, a.k_eps, at, lane, x);
    if (lane * own >= a.head_dim) return;
    round_values<Half>(x, key), round_values<Half>(y, value);
    store_words(shared.keys[slot] + to, key), store_words(shared.values[slot] + to, value);
    if (i > 0 || first_query > 0) return;
    const size_t cached = place(at / kCacheTokens) + to;
    store_words(a.keys + cached, key), store_words(a.values + cached, value);
  };
  const int g = warp / kParts, part = warp % kParts, part_begin = part * kPartTokens;
  float2 end{kNever, 0.0f};
  float total[own] = {};
  int slot = 0, round = 0;
#pragma unroll 1
  for (int block = first_block; block <= last_block; block += kSplits) {
    const int begin = block * kCacheTokens;
    wait_at(&shared.full[slot], round);
    const bool fresh_rows = begin + kCacheTokens + kMaxRows > seen.position;  // may be among its positions
    if (block == first_block && warp < kQueries) turn_query(warp);
    if (fresh_rows && warp >= kQueries)
#pragma unroll 1
      for (int i = warp - kQueries; i < kMaxRows; i += kAttentionWarps - kQueries)
        if (rows >> i & 1 && (seen.position - i) / kCacheTokens == block) turn_row(i, slot);
    if (block == first_block || fresh_rows) meet<kAttentionThreads>();
    // The part's positions that are seen; what lies at others may be anything.
    const int lowest = seen.first - begin > part_begin ? seen.first - begin : part_begin;
    const int highest = seen.position - begin < part_begin + kPartTokens - 1 ? seen.position - begin : part_begin + kPartTokens - 1;
    if (lowest <= highest) {
      // Lanes of different positions begin at different eights of a key, so that they read different banks.
      const int eights = a.head_dim / 8, each = (eights + 3) / 4, token = part_begin + lane % kPartTokens, skip = lane / kPartTokens * each;
      const uint16_t* key = shared.keys[slot] + token * a.head_dim;
      float sums[4] = {};
      int at = skip + lane % kPartTokens;
      while (at >= eights) at -= eights;
#pragma unroll
      for (int i = 0; i < own; ++i, at = at + 1 == eights ? 0 : at + 1) {
        if (i >= each || skip + i >= eights) break;
        float k[8], q[2][4];
        load_halves(key + at * 8, k);
        load_floats(shared.queries[g][0] + at * 4, q[0]);
        load_floats(shared.queries[g][1] + at * 4, q[1]);
#pragma unroll
        for (int j = 0; j < 8; ++j) sums[j % 4] = fmaf(q[j / 4][j % 4], k[j], sums[j % 4]);
      }
      float score = (sums[0] + sums[1]) + (sums[2] + sums[3]);
#pragma unroll
      for (int distance = kPartTokens; distance < 32; distance *= 2) score += __shfl_xor_sync(kAllLanes, score, distance);
      if (a.softcap > 0.0f) score = a.softcap * kLog2E * tanhf(score / (a.softcap * kLog2E));
      const bool sees = token >= lowest && token <= highest;
      float top = sees ? score : kNever;
#pragma unroll
      for (int distance = 1; distance < kPartTokens; distance *= 2) top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, distance));
      top = fmaxf(top, end.x);
      float weight = sees ? power_of_two(score - top) : 0.0f;
      if (lane < kPartTokens) shared.weights[warp][lane] = weight;
#pragma unroll
      for (int distance = 1; distance < kPartTokens; distance *= 2) weight += __shfl_xor_sync(kAllLanes, weight, distance);
      const float shrink = power_of_two(end.x - top);
      end = {top, fmaf(end.y, shrink, weight)};
      __syncwarp();
      // Of positions that are not seen it reads others, and weighs them by 0.
      const uint16_t* values = shared.values[slot] + (lane * own < a.head_dim ? lane * own : 0);
      float weights[kPartTokens];
      load_floats(shared.weights[warp], weights);
#pragma unroll
      for (int i = 0; i < own; ++i) total[i] *= shrink;
#pragma unroll
      for (int j = 0; j < kPartTokens; ++j) {
        const int from = part_begin + j < lowest ? lowest : part_begin + j > highest ? highest : part_begin + j;
        float v[own];
        load_halves(values + from * a.head_dim, v);
#pragma unroll
        for (int i = 0; i < own; ++i) total[i] = fmaf(weights[j], v[i], total[i]);
      }
    }
    if (block + kCacheSlots * kSplits <= last_block) {
      meet<kAttentionThreads>();  // all have done with the slot
      if (threadIdx.x == 0) bring(block + kCacheSlots * kSplits, slot);
    }
    __syncwarp();  // all lanes have read the weights
    if (++slot == kCacheSlots) slot = 0, round ^= 1;
  }

  // The parts in the thread block, a thread two values of a head; then the splits in the cluster's first.
  store_floats(shared.parts[part].totals[g] + lane * own, total);
  if (lane == 0) shared.parts[part].ends[g] = end;
  meet<kAttentionThreads>();
  const int value = threadIdx.x * 2, head = value / Size, d = value % Size;
  const bool mine = value < kQueries * Size;
  float joined[2];
  float2 ends{};
  if (mine && seen.takes_part(split)) ends = join_all<Size>(shared.parts, head, d, [](int) { return true; }, joined);
  wait_for_cluster();
  if (mine && seen.takes_part(split)) {
    send(float2{joined[0], joined[1]}, reinterpret_cast<float2*>(&shared.splits[split].totals[head][d]), &shared.found, 0);
    if (d == 0) send(ends, &shared.splits[split].ends[head], &shared.found, 0);
  }
  if (split != 0 || !mine) return;
  if (threadIdx.x == 0) expect_bytes(&shared.found, seen.splits() * static_cast<int>(sizeof shared.splits[0]));
  wait_at(&shared.found, 0);
  ends = join_all<Size>(shared.splits, head, d, [&](int s) { return seen.takes_part(s); }, joined);
  joined[0] /= ends.y, joined[1] /= ends.y;
  const bool used = head < queries && d < a.head_dim;
  const int cols = a.kv_heads * a.group * a.head_dim, column = used ? (kv_head * a.group + first_query + head) * a.head_dim + d : 0;
  if (used) store_floats(a.out + size_t(row) * cols + column, joined);
  switch (a.feed_form) {
    case Format::none: break;
    case Format::bf16: RoundedForm<Bf16>::leave_own(a.feed, cols / kGroup, a.rows, row, column, joined, used); break;
    case Format::half: RoundedForm<Half>::leave_own(a.feed, cols / kGroup, a.rows, row, column, joined, used); break;
    default: QuantizedForm::leave_own(a.feed, cols / kGroup, a.rows, row, column, joined, used);
  }
}

// launch(kernel, blocks, threads, shared bytes).
template <class Launch>
auto launch_attention(const Attention& a, Launch launch) {
  const auto of = [&]<int Size>() {
    return launch(a.rows == 1 ? attend<Size, true> : attend<Size, false>, a.rows * a.kv_heads * ((a.group + kQueries - 1) / kQueries) * kSplits, kAttentionThreads, sizeof(AttentionMemory<Size>));
  };
  if (a.head_dim > 128) return of.template operator()<256>();
  if (a.head_dim > 64) return of.template operator()<128>();
  return of.template operator()<64>();
}

}  // namespace onesec::cuda
