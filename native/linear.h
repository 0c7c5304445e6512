// One matrix outside a model: y = W x + b with W at width 4, 8 or 16, in the decode arithmetic.
// Knows kernels and planes; nothing of threads, layers or Python.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels.h"

namespace onesec {

class Linear {
 public:
  // weight [rows][cols] float, packed into planes; half [rows][cols] f16, the 16-bit width; bias [rows] or empty.
  Linear(const float* weight, const uint16_t* half, std::vector<float> bias, int rows, int cols, const char* isa);

  int rows() const { return rows_; }
  int cols() const { return cols_; }
  int padded_rows() const { return planes_.rows; }
  size_t bytes(int width) const;                                  // that one product reads: weights and row scales
  void product(const float* x, int count, int width, float* y);   // x [count][cols] -> y [count][padded_rows]
  void unpack(int width, float* out) const;                       // 4 or 8; out [rows][cols]

 private:
  const Kernels& kernels_;
  int rows_, cols_;
  PlaneMatrix planes_;
  std::vector<CacheLine> hi_, lo_;
  std::vector<float> row_scale_, bias_;
  std::vector<uint16_t> half_;
  std::vector<int8_t> q_;  // activations of one chunk of rows
  std::vector<float> scale_, offset_;
  std::vector<int32_t> residual_;
};

}  // namespace onesec
