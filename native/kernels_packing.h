// What packing and calibration compute, over sixteen lanes. Included by kernels_impl.h, inside its namespace.
// Without a Gram nothing is fused or rounded differently anywhere: every machine packs the same bytes.

struct GroupError { V low, high; };  // of columns 0..15 and 16..31

inline V lane_error(V w, V scale, V base, V to_code) {
  const V code = V::min(V::max(V::round((w - base) * to_code), V::set(-float(kResidualZero))), V::set(255.0f - float(kResidualZero)));
  const V hi = V::round(V::fma(code, V::set(0.0625f), V::set(0.03125f)));  // (code + 8) >> 4
  return V::fma(scale, hi, base) - w;
}

inline GroupError group_error_of(const float* w, Grid grid) {
  const V scale = V::set(float(grid.scale)), base = V::set(-float(kMinimumUnit * grid.minimum)), to_code = V::set(16.0f / float(grid.scale));
  return {lane_error(V::load(w), scale, base, to_code), lane_error(V::load(w + 16), scale, base, to_code)};
}

inline void group_error(const float* w, Grid grid, float* error) {
  const GroupError e = group_error_of(w, grid);
  e.low.store(error), e.high.store(error + 16);
}

// Costs of M grids: e (G e + 2 pull).
template <int M>
void gram_costs(const GroupTask& t, const Grid* grids, float* costs) {
  GroupError e[M], y[M];
  float values[M][kGroup];
  const V pull_low = V::load(t.pull), pull_high = V::load(t.pull + 16);
  for (int m = 0; m < M; ++m) {
    e[m] = group_error_of(t.w, grids[m]);
    e[m].low.store(values[m]), e[m].high.store(values[m] + 16);
    y[m] = {pull_low + pull_low, pull_high + pull_high};
  }
  for (int k = 0; k < kGroup; ++k) {
    const V low = V::load(t.gram + size_t(k) * size_t(t.ld)), high = V::load(t.gram + size_t(k) * size_t(t.ld) + 16);
    for (int m = 0; m < M; ++m) {
      const V x = V::set(values[m][k]);
      y[m] = {V::fma(x, low, y[m].low), V::fma(x, high, y[m].high)};
    }
  }
  for (int m = 0; m < M; ++m) costs[m] = V::fma(e[m].low, y[m].low, e[m].high * y[m].high).sum();
}

inline void grid_costs(const GroupTask& t, const Grid* grids, int count, float* costs) {
  int i = 0;
  if (t.gram) {
    for (; i + 2 <= count; i += 2) gram_costs<2>(t, grids + i, costs + i);
    if (i < count) gram_costs<1>(t, grids + i, costs + i);
    return;
  }
  for (; i < count; ++i) {
    const GroupError e = group_error_of(t.w, grids[i]);
    costs[i] = (e.low * e.low + e.high * e.high).sum();
  }
}

// sums[i][j] += x[t][i] x[t][j] over rows t, for four columns i and the columns j in [begin, end), which is a multiple
// of 16 long.
inline void add_products(const float* x, int ld_x, int rows, int i, int begin, int end, float* sums, int ld) {
  for (int j = begin; j < end; j += 16) {
    V acc[4];
    for (int q = 0; q < 4; ++q) acc[q] = V::load(sums + size_t(q) * size_t(ld) + (j - begin));
    for (int t = 0; t < rows; ++t) {
      const float* row = x + size_t(t) * size_t(ld_x);
      const V xj = V::load(row + j);
      for (int q = 0; q < 4; ++q) acc[q] = V::fma(V::set(row[i + q]), xj, acc[q]);
    }
    for (int q = 0; q < 4; ++q) acc[q].store(sums + size_t(q) * size_t(ld) + (j - begin));
  }
}
