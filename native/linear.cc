#include "linear.h"

#include <algorithm>

#include "pack.h"

namespace onesec {
namespace {

constexpr int kChunkRows = 64;  // quantized at once: with 1024 columns 64 KiB, which a second-level cache holds

}  // namespace

Linear::Linear(const float* weight, const uint16_t* half, std::vector<float> bias, int rows, int cols, const char* isa)
    : kernels_(choose_kernels(isa)), rows_(rows), cols_(cols), bias_(std::move(bias)),
      half_(half, half + size_t(rows) * size_t(cols)) {
  const int padded = round_up(rows, kTileRows), padded_cols = round_up(cols, kSuperblock);
  planes_ = {nullptr, nullptr, nullptr, padded, padded_cols};
  hi_.resize(planes_.hi_bytes() / sizeof(CacheLine)), lo_.resize(planes_.lo_bytes() / sizeof(CacheLine));
  row_scale_.resize(size_t(padded));
  if (!bias_.empty()) bias_.resize(size_t(padded));
  planes_.hi = hi_.data()->bytes, planes_.lo = lo_.data()->bytes, planes_.row_scale = row_scale_.data();
  for (int tile = 0; tile * kTileRows < rows; ++tile) {
    const int row = tile * kTileRows;
    pack_tile(kernels_, weight + size_t(row) * size_t(cols), std::min(kTileRows, rows - row), cols, cols, Gram{},
              const_cast<uint8_t*>(planes_.hi_tile(tile)), const_cast<uint8_t*>(planes_.lo_tile(tile)), row_scale_.data() + row);
  }
  const size_t values = size_t(kChunkRows) * size_t(padded_cols), groups = values / kGroup;
  q_.resize(values), scale_.resize(groups), offset_.resize(groups), residual_.resize(groups);
}

size_t Linear::bytes(int width) const {
  if (width == 16) return half_.size() * sizeof(uint16_t);
  return planes_.hi_bytes() + (width == 8 ? planes_.lo_bytes() : 0) + row_scale_.size() * sizeof(float);
}

void Linear::product(const float* x, int count, int width, float* y) {
  const float* bias = bias_.empty() ? nullptr : bias_.data();
  const int ld = planes_.rows;
  if (width == 16) {
    kernels_.matmul16(half_.data(), DType::f16, rows_, cols_, x, cols_, count, y, ld, bias, false);
    return;
  }
  const QuantRows rows = {q_.data(), scale_.data(), offset_.data(), residual_.data(), planes_.cols};
  for (int first = 0; first < count; first += kChunkRows) {
    const int n = std::min(kChunkRows, count - first);
    for (int i = 0; i < n; ++i) kernels_.quantize(x + size_t(first + i) * size_t(cols_), cols_, rows.from(i));
    (width == 8 ? kernels_.matmul8 : kernels_.matmul4)(planes_, 0, ld / kTileRows, rows, n, y + size_t(first) * size_t(ld), ld,
                                                       bias, false);
  }
}

void Linear::unpack(int width, float* out) const {
  for (int row = 0; row < rows_; ++row) unpack_row(planes_, row, width, cols_, out + size_t(row) * size_t(cols_));
}

}  // namespace onesec
