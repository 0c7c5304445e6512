// Float tiles into the two planes: which grid each group of 32 weights takes, and the codes on it.
// Knows kernels; nothing of threads, files or models.
#pragma once
#include "kernels.h"

namespace onesec {

// What a matrix reads: sums of x xT over tokens, in blocks of columns along the diagonal, divided by their number.
// One block is [size][size], symmetric, and zero where its columns lie behind the matrix's end.
constexpr int kGramBlock = 512;
struct Gram {
  const float* blocks = nullptr;  // null: nothing is known of the inputs
  int size = 0;

  static int block_size(int cols) { return round_up(cols, kSuperblock) < kGramBlock ? round_up(cols, kSuperblock) : kGramBlock; }
  static int block_count(int cols) { return (cols + block_size(cols) - 1) / block_size(cols); }
  const float* rows_of(int column) const {  // the line of this column, from its block's first column on
    return blocks + size_t(column / size) * size_t(size) * size_t(size) + size_t(column % size) * size_t(size);
  }
};

// One tile of `rows` x `cols` finite floats (row-major, leading dimension ld; rows <= 16) into its planes. Every value
// lies within the residual's range of its group's grid, so hi with lo stays plain 8-bit rounding. Among such grids each
// group takes the one whose error of hi alone costs least: the squared error of the weights, or, with a Gram, that of
// the products, given the errors of the other groups (coordinate descent along the groups).
void pack_tile(const Kernels& kernels, const float* w, int rows, int cols, int ld, const Gram& gram, uint8_t* hi,
               uint8_t* lo, float* row_scale);

}  // namespace onesec
