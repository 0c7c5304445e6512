#include "moments.h"

#include <algorithm>
#include <cstring>

namespace onesec {

constexpr int kQuad = 4, kLanes = 16;

Moments::Moments(int cols)
    : cols_(cols), size_(Gram::block_size(cols)), blocks_(Gram::block_count(cols)),
      sums_(size_t(blocks_) * size_t(size_) * size_t(size_)) {}

void Moments::add(const Kernels& kernels, int thread, int threads, const float* x, int ld, int rows) {
  const int quads = size_ / kQuad;
  std::vector<float> copy(size_t(rows) * size_t(size_));  // of one block, with zeros behind the matrix's end
  for (int block = 0; block < blocks_; ++block) {
    const int first = block * size_, count = std::min(size_, cols_ - first);
    for (int t = 0; t < rows; ++t) std::memcpy(copy.data() + size_t(t) * size_t(size_), x + size_t(t) * size_t(ld) + first, size_t(count) * sizeof(float));
    if (count < size_) for (int t = 0; t < rows; ++t) std::fill_n(copy.data() + size_t(t) * size_t(size_) + count, size_ - count, 0.0f);
    for (int quad = thread; quad < quads; quad += threads) {  // in turns: early lines are longer
      const int i = quad * kQuad, begin = i / kLanes * kLanes;
      float* line = sums_.data() + (size_t(block) * size_t(size_) + size_t(i)) * size_t(size_);
      kernels.add_products(copy.data(), size_, rows, i, begin, size_, line + begin, size_);
    }
  }
}

}  // namespace onesec
