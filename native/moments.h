// Moments: sums of products of what matrices read, block by block along the diagonal. Filled while a model reads text.
// Knows kernels; nothing of layers.
#pragma once
#include <vector>

#include "pack.h"

namespace onesec {

class Moments {
 public:
  Moments() = default;
  explicit Moments(int cols);

  // Adds `rows` rows of x. Every thread calls it with the same rows and adds its share of the sums, so that the result
  // does not depend on how many threads there are; whoever calls keeps x until all have.
  void add(const Kernels& kernels, int thread, int threads, const float* x, int ld, int rows);

  int size() const { return size_; }
  int blocks() const { return blocks_; }
  // [blocks][size][size]; of each block only the columns from a line's own sixteen on are summed up.
  const std::vector<float>& sums() const { return sums_; }

 private:
  int cols_ = 0, size_ = 0, blocks_ = 0;
  std::vector<float> sums_;
};

}  // namespace onesec
