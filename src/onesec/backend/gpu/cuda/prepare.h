// Activations as the products read them: normed, then int8 by groups or rounded. Done by a block for itself, or once by
// a kernel of its own: the same code, so the same bits.
#pragma once
#include "arguments.h"
#include "device.h"

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

ONESEC_DEVICE float warp_sum(float x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(kAllLanes, x, distance);
  return x;
}

// Sum over the block; `scratch` holds kWarps floats. Every thread gets the same bits.
ONESEC_DEVICE float block_sum(float x, float* scratch) {
  x = warp_sum(x);
  __syncthreads();  // the last sum has been read
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
  __syncthreads();
  float total = 0.0f;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) total += scratch[warp];
  return total;
}

// A row under its norm: value(column) = (x - mean) * factor * weight + bias.
struct NormedRow {
  const float* x;
  const float* weight;
  const float* bias;
  float mean, factor;

  __device__ float operator()(int column) const {
    float value = x[column];
    if (!weight) return value;
    value = (value - mean) * factor * weight[column];
    return bias ? value + bias[column] : value;
  }
};

ONESEC_DEVICE NormedRow normed_row(NormKind norm, const float* x, const float* weight, const float* bias, float eps, int cols,
                                   float* scratch) {
  if (norm == NormKind::none) return {x, nullptr, nullptr, 0.0f, 1.0f};
  float mean = 0.0f, squares = 0.0f;
  if (norm == NormKind::layer) {
#pragma unroll 8
    for (int i = threadIdx.x; i < cols; i += kThreads) mean += x[i];
    mean = block_sum(mean, scratch) / float(cols);
  }
#pragma unroll 8
  for (int i = threadIdx.x; i < cols; i += kThreads) {
    const float distance = x[i] - mean;
    squares = fmaf(distance, distance, squares);
  }
  squares = block_sum(squares, scratch);
  return {x, weight, norm == NormKind::layer ? bias : nullptr, mean, 1.0f / sqrtf(squares / float(cols) + eps)};
}

// A warp quantizes a group, a value a lane, to entry (group, column) of a tile: native/kernels_impl.h's arithmetic.
ONESEC_DEVICE void quantize_group(float value, int entry, int lane, const Quantized& out) {
  const float largest = __uint_as_float(__reduce_max_sync(kAllLanes, __float_as_uint(fabsf(value))));
  const float inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
  const int q = __float2int_rn(value * inverse);
  const int sum = __reduce_add_sync(kAllLanes, q);
  out.q[entry * kGroup + lane] = static_cast<int8_t>(q);
  if (lane == 0) {
    const float scale = largest / 127.0f;
    out.meta[entry] = {scale, -float(kMinimumUnit) * (scale * float(sum))};
    out.start[entry] = kFloatOrigin - kResidualZero * sum;
  }
}

// A form of activations: `prepare` writes the rows that a block has taken on (all of a step for itself, or one in a
// kernel of its own) to `base`; `leave` writes unit `unit` of a row's inner values, a value a lane, to `feed`, which has
// as many groups (or steps) as the product has units.
struct QuantizedForm {
  static size_t bytes(const Product& p) { return size_t(row_tiles(p.rows)) * Quantized::bytes(2 * p.superblocks, tile_columns(p.rows)); }
  static __device__ void prepare(const Product& p, int begin, int end, void* base, float* scratch) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, groups = 2 * p.superblocks, columns = tile_columns(p.rows);
    for (int row = begin; row < end; ++row) {
      const NormedRow value = normed_row(p.norm, p.x + size_t(row) * p.cols, p.norm_weight, p.norm_bias, p.eps, p.cols, scratch);
      const Quantized out = quantized(base, groups, columns, row / 8);
#pragma unroll 4
      for (int group = warp; group < groups; group += kWarps) {
        const int column = group * kGroup + lane;
        quantize_group(column < p.cols ? value(column) : 0.0f, group * columns + row % 8, lane, out);
      }
    }
  }
  static __device__ void leave(const Product& p, float value, int unit, int row, int lane) {
    const int columns = tile_columns(p.rows);
    quantize_group(value, unit * columns + row % 8, lane, quantized(p.feed, p.units, columns, row / 8));
  }
};

template <class Type>
struct RoundedForm {
  static size_t bytes(const Product& p) { return size_t(row_tiles(p.rows)) * rounded_bytes(p.superblocks, tile_columns(p.rows)); }
  static __device__ void prepare(const Product& p, int begin, int end, void* base, float* scratch) {
    const int columns = tile_columns(p.rows);
    for (int row = begin; row < end; ++row) {
      const NormedRow value = normed_row(p.norm, p.x + size_t(row) * p.cols, p.norm_weight, p.norm_bias, p.eps, p.cols, scratch);
      auto* out = static_cast<uint16_t*>(base) + size_t(row / 8) * (rounded_bytes(p.superblocks, columns) / 2);
#pragma unroll 4
      for (int column = threadIdx.x; column < p.superblocks * kGroup; column += kThreads)
        out[(column / kGroup * columns + row % 8) * kGroup + column % kGroup] = Type::round(column < p.cols ? value(column) : 0.0f);
    }
  }
  static __device__ void leave(const Product& p, float value, int unit, int row, int lane) {
    const int columns = tile_columns(p.rows);
    auto* out = static_cast<uint16_t*>(p.feed) + size_t(row / 8) * (rounded_bytes(p.units, columns) / 2);
    out[(unit * columns + row % 8) * kGroup + lane] = Type::round(value);
  }
};

// A block a row, into `feed`.
template <class Form>
__global__ void __launch_bounds__(kThreads) prepare_rows(const Product p) {
  __shared__ float scratch[kWarps];
  launch_dependents();
  wait_for_previous();
  Form::prepare(p, blockIdx.x, blockIdx.x + 1, p.feed, scratch);
}

// y[row] += norm(x[row]), a block a row: the residual add behind a post-norm.
[[maybe_unused]] static __global__ void __launch_bounds__(kThreads) add_normed(const Product p) {
  __shared__ float scratch[kWarps];
  launch_dependents();
  wait_for_previous();
  const NormedRow value =
      normed_row(p.norm, p.x + size_t(blockIdx.x) * p.cols, p.norm_weight, p.norm_bias, p.eps, p.cols, scratch);
  for (int i = threadIdx.x; i < p.cols; i += kThreads) p.y[size_t(blockIdx.x) * p.ld_y + i] += value(i);
}

}  // namespace onesec::cuda
