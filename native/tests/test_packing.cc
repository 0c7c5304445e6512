// Packing: how close both widths come, what the residual must reach, that inputs' products bring what they are for;
// and the sums of those products. Every table's kernels against the scalar twin; bytes
// that are packed without a Gram bit for bit.
#include "grids.h"
#include "support.h"

namespace onesec::test {
namespace {

// Products of correlated inputs: four directions and a little noise.
std::vector<float> correlated(int tokens, int cols, uint32_t seed) {
  const auto directions = random_floats(size_t(4) * size_t(cols), seed), amounts = random_floats(size_t(4) * size_t(tokens), seed + 1);
  auto x = random_floats(size_t(tokens) * size_t(cols), seed + 2, 0.3f);
  for (int t = 0; t < tokens; ++t)
    for (int k = 0; k < cols; ++k)
      for (int d = 0; d < 4; ++d) x[size_t(t * cols + k)] += amounts[size_t(t * 4 + d)] * directions[size_t(d * cols + k)];
  return x;
}

// E[x xT] in blocks, and damped, written out.
std::vector<float> gram_of(const std::vector<float>& x, int tokens, int cols) {
  const int size = Gram::block_size(cols);
  std::vector<float> out(size_t(Gram::block_count(cols)) * size_t(size) * size_t(size));
  for (int i = 0; i < cols; ++i)
    for (int j = i / size * size; j < std::min(cols, (i / size + 1) * size); ++j) {
      double sum = i == j ? 0.02 * tokens : 0.0;
      for (int t = 0; t < tokens; ++t) sum += double(x[size_t(t * cols + i)]) * x[size_t(t * cols + j)];
      out[(size_t(i / size) * size_t(size) + size_t(i % size)) * size_t(size) + size_t(j % size)] = float(sum / tokens);
    }
  return out;
}

struct Packed {
  std::vector<uint8_t> hi, lo;
  std::vector<float> scales;
  PlaneMatrix view;
  Packed(const Kernels& k, const std::vector<float>& w, int cols, const Gram& gram)
      : hi(size_t(round_up(cols, kSuperblock) / kSuperblock) * kHiBytes), lo(size_t(round_up(cols, kSuperblock) / kSuperblock) * kLoBytes), scales(kTileRows) {
    const int rows = int(w.size()) / cols;
    pack_tile(k, w.data(), rows, cols, cols, gram, hi.data(), lo.data(), scales.data());
    view = {hi.data(), lo.data(), scales.data(), kTileRows, round_up(cols, kSuperblock)};
  }
  float step(int row, int column) const {
    const uint8_t* scale_line = hi.data() + size_t(column / kSuperblock) * kHiBytes + kScaleLine;
    return scales[size_t(row)] * float(scale_line[column % kSuperblock / kGroup * kTileRows + row]);
  }
  // Of the products of hi with these inputs, squared and summed up over rows and tokens.
  double output_error(const std::vector<float>& w, const std::vector<float>& x, int tokens, int cols) const {
    std::vector<float> row(static_cast<size_t>(cols));
    double error = 0.0;
    for (int r = 0; r < int(w.size()) / cols; ++r) {
      unpack_row(view, r, 4, cols, row.data());
      for (int t = 0; t < tokens; ++t) {
        double y = 0.0;
        for (int k = 0; k < cols; ++k) y += (double(row[size_t(k)]) - w[size_t(r * cols + k)]) * x[size_t(t * cols + k)];
        error += y * y;
      }
    }
    return error;
  }
};

void test_closeness() {
  for (const int cols : {1, 31, 32, 33, 64, 100, 257, 600}) {
    auto w = random_floats(size_t(13) * size_t(cols), uint32_t(cols), 0.05f);
    for (int k = 0; k < cols; ++k) w[size_t(k)] = std::fabs(w[size_t(k)]), w[size_t(cols + k)] *= k % 7 ? 1e-3f : 1.0f, w[size_t(2 * cols + k)] = 0.0f;
    const auto gram = gram_of(correlated(50, cols, 3), 50, cols);
    std::vector<float> row(static_cast<size_t>(cols));
    for (const bool with_gram : {false, true}) {
      const Packed p(**available_kernels(), w, cols, with_gram ? Gram{gram.data(), Gram::block_size(cols)} : Gram{});
      for (const int width : {4, 8})
        for (int r = 0; r < 13; ++r) {
          unpack_row(p.view, r, width, cols, row.data());
          for (int k = 0; k < cols; ++k) {  // half a step of that width, plus roundings
            const float far = std::fabs(row[size_t(k)] - w[size_t(r * cols + k)]), step = p.step(r, k);
            expect(far <= step * (width == 8 ? 1.0f / 32.0f : 17.0f / 32.0f) * 1.01f + 1e-7f, "residual out of reach", "", cols, width, r);
          }
        }
    }
  }
}

void test_output_error() {
  for (const int cols : {64, 200, 1100}) {
    const int tokens = 120;
    const auto w = random_floats(size_t(16) * size_t(cols), 5, 0.05f), x = correlated(tokens, cols, uint32_t(cols));
    const auto gram = gram_of(x, tokens, cols);
    const Packed plain(**available_kernels(), w, cols, {}), fitted(**available_kernels(), w, cols, {gram.data(), Gram::block_size(cols)});
    expect(fitted.output_error(w, x, tokens, cols) < 0.6 * plain.output_error(w, x, tokens, cols), "output error", "", cols);
  }
}

void test_grids() {
  for (const float high : {0.0f, 0.4f, 15.0f, 900.0f, 3825.0f})
    for (const float low : {0.0f, -0.4f, -77.0f, -2000.0f}) {
      if (high - low > 3825.0f) continue;
      Grid grids[kMostGrids];
      const int count = grids_of(low, high, grids);
      expect(count >= 1 && count <= kMostGrids, "number of grids", "", count);
      for (int i = 0; i < count; ++i) {
        const float base = -float(kMinimumUnit * grids[i].minimum), step = float(grids[i].scale);
        const bool fits = grids[i].scale >= 1 && grids[i].scale <= 255 && grids[i].minimum >= 0 && grids[i].minimum <= 255;
        expect(fits && low >= base - 8.5f / 16.0f * step - 0.01f && high <= base + (15.0f + 7.5f / 16.0f) * step + 0.01f, "grid holds its range", "", i);
      }
    }
}

void test_twins() {
  const Kernels& twin = **available_kernels();
  const auto w = random_floats(kGroup, 1, 300.0f), gram = random_floats(kGroup * 40, 2), pull = random_floats(kGroup, 3);
  const auto x = random_floats(7 * 70, 4);
  const std::vector<Grid> grids = {{255, 100}, {1, 0}, {80, 77}, {120, 255}, {33, 41}};
  for (const Kernels* const* k = available_kernels(); *k; ++k) {
    for (const bool with_gram : {false, true}) {
      GroupTask task{w.data()};
      if (with_gram) task.gram = gram.data(), task.ld = 40, task.pull = pull.data();
      std::vector<float> a(grids.size()), b = a;
      twin.grid_costs(task, grids.data(), int(grids.size()), a.data()), (*k)->grid_costs(task, grids.data(), int(grids.size()), b.data());
      if (!with_gram) expect(a == b, "grid costs", (*k)->name);
      else for (size_t i = 0; i < a.size(); ++i) expect(std::fabs(a[i] - b[i]) <= 1e-5f * std::fabs(a[i]), "grid costs with a Gram", (*k)->name, int(i));
    }
    std::vector<float> a(kGroup), b(kGroup);
    for (const Grid grid : grids) {
      twin.group_error(w.data(), grid, a.data()), (*k)->group_error(w.data(), grid, b.data());
      expect(a == b, "group error", (*k)->name, grid.scale);
    }
    std::vector<float> c(4 * 50, 1.0f), d = c;
    twin.add_products(x.data(), 70, 7, 8, 0, 48, c.data(), 50), (*k)->add_products(x.data(), 70, 7, 8, 0, 48, d.data(), 50);
    expect(largest_difference(c, d) < 1e-4f, "sums of products", (*k)->name);
    const auto tile = random_floats(16 * 96, 6);
    const Packed p(twin, tile, 96, {}), q(**k, tile, 96, {});
    expect(p.hi == q.hi && p.lo == q.lo && p.scales == q.scales, "packed bytes", (*k)->name);
  }
}

void test_moments() {
  for (const int cols : {20, 64, 700}) {
    const int rows = 9, ld = cols + 3, size = Gram::block_size(cols);
    const auto x = random_floats(size_t(rows) * size_t(ld), uint32_t(cols));
    Moments one(cols), three(cols);
    for (int time = 0; time < 2; ++time) {
      one.add(**available_kernels(), 0, 1, x.data(), ld, rows);
      for (int thread = 0; thread < 3; ++thread) three.add(**available_kernels(), thread, 3, x.data(), ld, rows);
    }
    expect(one.sums() == three.sums(), "sums under threads", "", cols);
    for (int i = 0; i < cols; i += 3)
      for (int j = i; j < std::min(cols, (i / size + 1) * size); j += 5) {
        double sum = 0.0;
        for (int t = 0; t < rows; ++t) sum += 2.0 * x[size_t(t * ld + i)] * x[size_t(t * ld + j)];
        const float found = one.sums()[(size_t(i / size) * size_t(size) + size_t(i % size)) * size_t(size) + size_t(j % size)];
        expect(std::fabs(found - sum) < 1e-4, "sum of products", "", cols, i, j);
      }
  }
}

}  // namespace

void test_packing() { test_closeness(), test_output_error(), test_grids(), test_twins(), test_moments(); }

}  // namespace onesec::test
