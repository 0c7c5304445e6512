#include "pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "grids.h"

namespace onesec {
namespace {

constexpr int kPasses = 2;  // over a row's groups: in the first, later groups have no errors yet; a third gained nothing

// The grids of a tile's rows, group by group.
class GridSearch {
 public:
  GridSearch(const Kernels& kernels, const Gram& gram, int rows, int cols, const float* units, int ld)
      : kernels_(kernels), gram_(gram), rows_(rows), groups_((cols + kGroup - 1) / kGroup), units_(units), ld_(ld),
        grids_(size_t(rows) * size_t(groups_)), ranges_(grids_.size() * 2) {
    if (gram.blocks) errors_.resize(size_t(rows) * size_t(ld));
    for (int r = 0; r < rows; ++r)
      for (int g = 0; g < groups_; ++g) {
        float low = 0.0f, high = 0.0f;
        for (int k = 0; k < kGroup; ++k) {
          const float value = weights(r, g)[k];
          low = value < low ? value : low, high = value > high ? value : high;
        }
        ranges_[2 * index(r, g)] = low, ranges_[2 * index(r, g) + 1] = high;
      }
  }

  void run() {
    for (int pass = 0; pass < (gram_.blocks ? kPasses : 1); ++pass)
      for (int g = 0; g < groups_; ++g) {
        if (gram_.blocks) pull_of(g);
        for (int r = 0; r < rows_; ++r) choose(r, g);
      }
  }
  Grid grid(int r, int g) const { return g < groups_ ? grids_[index(r, g)] : Grid{1, 0}; }

 private:
  size_t index(int r, int g) const { return size_t(r) * size_t(groups_) + size_t(g); }
  const float* weights(int r, int g) const { return units_ + size_t(r) * size_t(ld_) + size_t(g) * kGroup; }
  float* errors(int r, int g) { return errors_.data() + size_t(r) * size_t(ld_) + size_t(g) * kGroup; }

  // What the errors in the other groups of the block weigh at each column of this one, for every row.
  void pull_of(int g) {
    for (int r = 0; r < rows_; ++r) std::fill_n(errors(r, g), kGroup, 0.0f);
    const int column = g * kGroup, first = column / gram_.size * gram_.size;
    kernels_.matmul16(gram_.rows_of(column), DType::f32, kGroup, gram_.size, errors_.data() + first, ld_, rows_, pull_, kGroup,
                      nullptr, false);
  }

  void choose(int r, int g) {
    Grid grids[kMostGrids];
    float costs[kMostGrids];
    const int count = grids_of(ranges_[2 * index(r, g)], ranges_[2 * index(r, g) + 1], grids);
    GroupTask task{weights(r, g)};
    if (gram_.blocks) {
      task.gram = gram_.rows_of(g * kGroup) + g * kGroup % gram_.size;
      task.ld = gram_.size, task.pull = pull_ + r * kGroup;
    }
    kernels_.grid_costs(task, grids, count, costs);
    const Grid best = grids[std::min_element(costs, costs + count) - costs];
    grids_[index(r, g)] = best;
    if (gram_.blocks) kernels_.group_error(weights(r, g), best, errors(r, g));
  }

  const Kernels& kernels_;
  const Gram& gram_;
  int rows_, groups_;
  const float* units_;
  int ld_;
  std::vector<Grid> grids_;
  std::vector<float> ranges_, errors_;
  float pull_[kTileRows * kGroup];
};

// The unit of one row, and its values in that unit.
float scale_row(const float* row, int cols, float* units) {
  std::vector<float> low(size_t((cols + kGroup - 1) / kGroup), 0.0f), high = low;  // every group's range holds zero
  for (int k = 0; k < cols; ++k) {
    const auto g = size_t(k / kGroup);
    low[g] = std::min(low[g], row[k]), high[g] = std::max(high[g], row[k]);
  }
  const float unit = row_unit(low.data(), high.data(), int(low.size())), inverse = unit > 0.0f ? 1.0f / unit : 0.0f;
  for (int k = 0; k < cols; ++k) units[k] = row[k] * inverse;
  return unit;
}

}  // namespace

void pack_tile(const Kernels& kernels, const float* w, int rows, int cols, int ld, const Gram& gram, uint8_t* hi, uint8_t* lo,
               float* row_scale) {
  const int superblocks = round_up(cols, kSuperblock) / kSuperblock;
  std::memset(hi, 0, size_t(superblocks) * kHiBytes);
  std::memset(lo, 0, size_t(superblocks) * kLoBytes);
  const int width = gram.blocks ? round_up(cols, gram.size) : superblocks * kSuperblock;
  std::vector<float> units(size_t(rows) * size_t(width));
  for (int r = 0; r < kTileRows; ++r)
    row_scale[r] = r < rows ? scale_row(w + size_t(r) * size_t(ld), cols, units.data() + size_t(r) * size_t(width)) : 0.0f;
  GridSearch search(kernels, gram, rows, cols, units.data(), width);
  search.run();
  for (int r = 0; r < rows; ++r)
    for (int g = 0; g < superblocks * 2; ++g) {
      const Grid grid = search.grid(r, g);
      uint8_t* hi_block = hi + size_t(g / 2) * kHiBytes;
      uint8_t* lo_block = lo + size_t(g / 2) * kLoBytes;
      hi_block[kScaleLine + (g & 1) * kTileRows + r] = uint8_t(grid.scale);
      hi_block[kScaleLine + (2 + (g & 1)) * kTileRows + r] = uint8_t(grid.minimum);
      const float to_code = 16.0f / float(grid.scale), base = -float(kMinimumUnit * grid.minimum);
      const float* values = units.data() + size_t(r) * size_t(width) + size_t(g) * kGroup;
      for (int k = 0; k < kGroup; ++k) {
        const int code = std::clamp(int(std::lrint((values[k] - base) * to_code)) + kResidualZero, 0, 255);
        const int column = (g & 1) * kGroup + k;
        const int byte = column / 8 * 64 + r * 4 + column % 4, shift = column % 8 / 4 * 4;
        hi_block[byte] |= uint8_t((code >> 4) << shift);
        lo_block[byte] |= uint8_t((code & 15) << shift);
      }
    }
}

}  // namespace onesec
