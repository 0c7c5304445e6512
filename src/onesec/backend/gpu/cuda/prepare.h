// Activations as the products read them: normed, then int8 by groups or rounded. Left by the kernels whose results they are,
// or prepared by a kernel of its own.
#pragma once
#include "stage.h"
#include "values.h"

namespace onesec::cuda {

// The integer sums begin at the float 1.5 * 2^23 read as an integer: read back as a float, each is that plus the sum,
// exactly, for sums below 2^22. So no conversion is needed.
constexpr int32_t kFloatOrigin = 0x4b400000;
constexpr float kOrigin = 12582912.0f;

ONESEC_DEVICE Quantized quantized(void* base, int groups, int columns, int tile) {
  auto* q = static_cast<int8_t*>(base) + size_t(tile) * Quantized::bytes(groups, columns);
  auto* meta = reinterpret_cast<Meta*>(q + size_t(groups) * size_t(columns) * kGroup);
  return {q, meta, reinterpret_cast<int32_t*>(meta + size_t(groups) * size_t(columns))};
}

// Sum over the block; `scratch` holds kWarps floats, and is not that of the sum before. Every thread gets the same bits.
ONESEC_DEVICE float block_sum(float x, float* scratch) {
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
  meet<kThreads>();
  float total = 0.0f;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) total += scratch[warp];
  return total;
}

// Eight neighbouring columns of a row are a thread's (cols is a multiple of 8); a block goes through a row in stretches. What
// of it fits in registers is read once: a row's latency is that of one load, and its norm's factors are under way at the
// same time.
constexpr int kOwn = 8, kStretch = kThreads * kOwn, kKept = 2;  // columns of a thread, of a block; stretches kept

// The norm's weights are no kernel's result: before the wait they are brought near.
ONESEC_DEVICE void touch_norm(const Product& p) {
  if (p.norm != NormKind::none) touch(p.norm_weight, p.cols * static_cast<int>(sizeof(float)), threadIdx.x, kThreads);
}

// use(column, values) for each thread's columns of a row under its norm, zeros behind its end, up to `end` columns:
// (x - mean) * factor * weight + bias. `scratch` holds 2 * kWarps floats.
template <class Use>
ONESEC_DEVICE void each_normed(const Product& p, int row, int end, float* scratch, Use use) {
  const float* x = p.x + size_t(row) * p.cols;
  const int first = threadIdx.x * kOwn;
  const bool normed = p.norm != NormKind::none, centred = p.norm == NormKind::layer;
  float kept[kKept][kOwn] = {}, weights[kKept][kOwn];
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const int column = first + i * kStretch;
    if (column >= p.cols) break;
    load_floats(x + column, kept[i]);
    if (normed) load_floats(p.norm_weight + column, weights[i]);
  }
  float mean = 0.0f, factor = 1.0f;
  const auto total = [&](float* place, auto&& term) {  // the sum of term(x) over the row
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kKept; ++i) {
      if (first + i * kStretch >= p.cols) break;
#pragma unroll
      for (int j = 0; j < kOwn; ++j) sum = term(kept[i][j], sum);
    }
#pragma unroll 1
    for (int column = first + kKept * kStretch; column < p.cols; column += kStretch)
#pragma unroll 1
      for (int j = 0; j < kOwn; ++j) sum = term(x[column + j], sum);
    return block_sum(sum, place);
  };
  if (centred) mean = total(scratch, [](float value, float sum) { return sum + value; }) / float(p.cols);
  if (normed) {
    const float squares = total(scratch + kWarps, [mean](float value, float sum) { return fmaf(value - mean, value - mean, sum); });
    factor = 1.0f / sqrtf(squares / float(p.cols) + p.eps);
  }
  const auto finish = [&](int column, float (&values)[kOwn], const float (&weight)[kOwn]) {
    if (column >= end) return;
    if (normed && column < p.cols) {
#pragma unroll
      for (int j = 0; j < kOwn; ++j) values[j] = (values[j] - mean) * factor * weight[j];
      if (centred && p.norm_bias) {
#pragma unroll
        for (int j = 0; j < kOwn; ++j) values[j] += p.norm_bias[column + j];
      }
    }
    use(column, values);
  };
#pragma unroll
  for (int i = 0; i < kKept; ++i) finish(first + i * kStretch, kept[i], weights[i]);
#pragma unroll 1
  for (int column = first + kKept * kStretch; column < end; column += kStretch) {
#pragma unroll
    for (int j = 0; j < kOwn; ++j) kept[0][j] = 0.0f;
    if (column < p.cols) {
      load_floats(x + column, kept[0]);
      if (normed) load_floats(p.norm_weight + column, weights[0]);
    }
    finish(column, kept[0], weights[0]);
  }
}

// Of a group, by its largest magnitude: native/kernels_impl.h's arithmetic.
struct Step {
  float scale, inverse;
};

// Magnitudes are compared as integers, which order them the same and put above all what is not a number: it never gets lost.
ONESEC_DEVICE uint32_t magnitude(float x) { return __float_as_uint(fabsf(x)); }

// Next to nothing counts for nothing; where a value is not finite, the scale is not a number, and every code is zero.
ONESEC_DEVICE Step step_of(uint32_t largest_bits) {
  const float largest = __uint_as_float(largest_bits), inverse = largest > kLeast ? 127.0f / largest : 0.0f;
  return {inverse > 0.0f ? largest / 127.0f : largest * 0.0f, inverse};
}

// What is kept of a group beside its codes.
ONESEC_DEVICE void leave_group(float scale, int sum, int entry, const Quantized& out) {
  out.meta[entry] = {scale, -float(kMinimumUnit) * (scale * float(sum))};
  out.start[entry] = kFloatOrigin - kResidualZero * sum;
}

// A warp quantizes a group, a value a lane, to entry (group, column) of a tile. (What is not a number becomes the code zero.)
ONESEC_DEVICE void quantize_group(float value, int entry, int lane, const Quantized& out) {
  const Step step = step_of(__reduce_max_sync(kAllLanes, magnitude(value)));
  const int q = __float2int_rn(value * step.inverse);
  const int sum = __reduce_add_sync(kAllLanes, q);
  out.q[entry * kGroup + lane] = static_cast<int8_t>(q);
  if (lane == 0) leave_group(step.scale, sum, entry, out);
}

// The same for a thread's two or eight values: threads in a row have a group. All lanes of a warp are here.
template <int Count>
ONESEC_DEVICE void quantize_own(const float (&values)[Count], bool there, int entry, const Quantized& out) {
  constexpr int threads = kGroup / Count;
  uint32_t largest = 0;
  const auto raise = [&](uint32_t other) { largest = other > largest ? other : largest; };
#pragma unroll
  for (int i = 0; i < Count; ++i) raise(magnitude(values[i]));
#pragma unroll
  for (int distance = 1; distance < threads; distance *= 2) raise(__shfl_xor_sync(kAllLanes, largest, distance));
  const Step step = step_of(largest);
  int sum = 0;
  uint32_t words[(Count + 3) / 4] = {};
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    const int q = __float2int_rn(values[i] * step.inverse);
    sum += q;
    words[i / 4] |= (static_cast<uint32_t>(q) & 255u) << (i % 4 * 8);
  }
#pragma unroll
  for (int distance = 1; distance < threads; distance *= 2) sum += __shfl_xor_sync(kAllLanes, sum, distance);
  if (!there) return;
  const int part = threadIdx.x % threads;
  int8_t* to = out.q + entry * kGroup + part * Count;
  if constexpr (Count == 2) *reinterpret_cast<uint16_t*>(to) = static_cast<uint16_t>(words[0]);
  else store_words(to, words);
  if (part == 0) leave_group(step.scale, sum, entry, out);
}

// A form of activations. `leave` writes unit `unit` of a row's values, a value a lane, to the product's `feed`, which has as
// many groups (or steps) as the product has units; `leave_own` a thread's values from `column` on, to a feed of `groups`;
// `prepare` all of a row that is normed.
struct QuantizedForm {
  static constexpr int groups(const Product& p) { return 2 * p.superblocks; }
  static constexpr size_t bytes(const Product& p) { return size_t(row_tiles(p.rows)) * Quantized::bytes(groups(p), tile_columns(p.rows)); }
  static __device__ void leave(const Product& p, float value, int unit, int row, int lane) {
    const int columns = tile_columns(p.rows);
    quantize_group(value, unit * columns + row % 8, lane, quantized(p.feed, p.units, columns, row / 8));
  }
  template <int Count>
  static __device__ void leave_own(void* feed, int groups, int rows, int row, int column, const float (&values)[Count], bool there) {
    const int columns = tile_columns(rows);
    quantize_own(values, there, column / kGroup * columns + row % 8, quantized(feed, groups, columns, row / 8));
  }
  static __device__ void prepare(const Product& p, int row, float* scratch) {
    const int all = groups(p);
    // Whole warps go through: 256 columns a warp, of which the last may be behind the end.
    each_normed(p, row, (all * kGroup + 32 * kOwn - 1) / (32 * kOwn) * (32 * kOwn), scratch, [&](int column, const float (&values)[kOwn]) {
      leave_own(p.feed, all, p.rows, row, column, values, column / kGroup < all);
    });
  }
};

template <class Type>
struct RoundedForm {
  static constexpr int groups(const Product& p) { return p.superblocks; }
  static constexpr size_t bytes(const Product& p) { return size_t(row_tiles(p.rows)) * rounded_bytes(groups(p), tile_columns(p.rows)); }
  static __device__ void leave(const Product& p, float value, int unit, int row, int lane) { place(p.feed, p.units, p.rows, row, unit)[lane] = Type::round(value); }
  template <int Count>
  static __device__ void leave_own(void* feed, int groups, int rows, int row, int column, const float (&values)[Count], bool there) {
    if (!there) return;
    uint32_t words[Count / 2];
    round_values<Type>(values, words);
    store_words(place(feed, groups, rows, row, column / kGroup) + column % kGroup, words);
  }
  static __device__ void prepare(const Product& p, int row, float* scratch) {
    each_normed(p, row, groups(p) * kGroup, scratch, [&](int column, const float (&values)[kOwn]) {
      leave_own(p.feed, groups(p), p.rows, row, column, values, true);
    });
  }

 private:
  // Where a row's step lies.
  static __device__ uint16_t* place(void* feed, int groups, int rows, int row, int step) {
    const int columns = tile_columns(rows);
    return static_cast<uint16_t*>(feed) + size_t(row / 8) * (rounded_bytes(groups, columns) / 2) + (step * columns + row % 8) * kGroup;
  }
};

constexpr size_t kScratchBytes = 2 * kWarps * sizeof(float);

// A block a row, into `feed`.
template <class Form, bool Alone>  // whether of a single row: see launch.cu
__global__ void __launch_bounds__(kThreads, 1) prepare_rows(const Product p) {
  auto* scratch = shared_memory<float[2 * kWarps]>();
  launch_dependents();
  touch_norm(p);
  wait_for_previous();
  Form::prepare(p, Alone ? 0 : blockIdx.x, scratch);
}

}  // namespace onesec::cuda
