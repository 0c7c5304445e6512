// What the native tests share: counting, random numbers, packed matrices and a small model.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "pack.h"
#include "transformer.h"

namespace onesec::test {

inline int checks = 0, failures = 0;
inline bool brief = false;  // short prompts only
inline void expect(bool ok, const char* what, const char* isa, int a = 0, int b = 0, int c = 0) {
  ++checks;
  if (ok) return;
  ++failures;
  std::printf("FAILED %s [%s] %d %d %d\n", what, isa, a, b, c);
}

inline std::vector<float> random_floats(size_t n, uint32_t seed, float deviation = 1.0f) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> v(n);
  for (float& x : v) x = normal(rng);
  return v;
}

inline float largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  float m = 0.0f;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) != std::isnan(b[i])) return INFINITY;
    m = std::max(m, std::fabs(a[i] - b[i]));
  }
  return m;
}

struct Planes {
  int rows, cols;
  std::vector<uint8_t> storage;
  std::vector<float> scales;
  PlaneMatrix view;
  Planes(const std::vector<float>& w, int rows_in, int cols_in) : rows(rows_in), cols(cols_in) {
    const int padded = round_up(rows, kTileRows), blocks = round_up(cols, kSuperblock) / kSuperblock;
    const size_t hi = size_t(padded / kTileRows * blocks) * kHiBytes, lo = size_t(padded / kTileRows * blocks) * kLoBytes;
    storage.resize(hi + lo + 64);
    scales.resize(size_t(padded));
    auto* base = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(storage.data()) + 63) / 64 * 64);
    view = {base, base + hi, scales.data(), padded, blocks * kSuperblock};
    for (int t = 0; t < padded / kTileRows; ++t)
      pack_tile(**available_kernels(), w.data() + size_t(t) * kTileRows * size_t(cols), std::min(kTileRows, rows - t * kTileRows), cols, cols, {},
                const_cast<uint8_t*>(view.hi_tile(t)), const_cast<uint8_t*>(view.lo_tile(t)), scales.data() + t * kTileRows);
  }
};

struct Quantized {
  std::vector<int8_t> q;
  std::vector<float> scale, offset;
  std::vector<int32_t> residual;
  QuantRows view;
  Quantized(const Kernels& k, const std::vector<float>& x, int rows, int cols) {
    const int padded = round_up(cols, kSuperblock);
    q.resize(size_t(rows) * size_t(padded));
    scale.resize(q.size() / kGroup), offset.resize(q.size() / kGroup), residual.resize(q.size() / kGroup);
    view = {q.data(), scale.data(), offset.data(), residual.data(), padded};
    for (int r = 0; r < rows; ++r) k.quantize(x.data() + size_t(r) * size_t(cols), cols, view.from(r));
  }
};

inline Config small_config() {
  Config c;
  c.vocab_size = 211, c.hidden_size = 96, c.num_layers = 3, c.num_heads = 6, c.num_kv_heads = 2, c.head_dim = 16;
  c.intermediate_size = 160, c.context_length = 4096, c.attention_scale = 0.25f, c.tie_embeddings = true;
  Rope rope;
  for (int i = 0; i < 8; ++i) rope.inv_freq.push_back(std::pow(10000.0f, -float(i) / 8.0f));
  c.ropes.push_back(rope);
  c.layers = {{0, 0}, {40, 0}, {0, 0}};
  return c;
}

struct Model {
  Transformer t;
  explicit Model(int threads, const char* isa = "", DType cache = DType::f16) : t(small_config(), threads, isa) {
    t.reserve_planes();
    uint32_t seed = 1;
    for (const auto& name : t.matrix_names()) {
      Matrix& m = t.matrix(name);
      std::vector<std::vector<float>> kept;
      std::vector<Segment> segments;
      for (const int rows : m.segment_rows) kept.push_back(random_floats(size_t(rows) * size_t(m.cols), ++seed, 0.2f));
      for (size_t i = 0; i < kept.size(); ++i) segments.push_back({kept[i].data(), DType::f32, m.segment_rows[i]});
      t.pack(m, segments);
    }
    for (int i = 0; i < 3; ++i)
      for (const char* name : {"attn_norm", "ffn_norm"}) t.set_vector("layers." + std::to_string(i) + "." + name, std::vector<float>(96, 1.0f));
    t.set_vector("final_norm", std::vector<float>(96, 1.0f));
    t.finish();
    t.allocate_cache(200, cache);
  }
  // Greedy tokens after `first`, one at a time, with the coarse head or the full one.
  std::vector<int32_t> greedy(int32_t first, int steps, bool argmax_only, Width width) {
    const Widths widths(t.matrix_names().size(), width);
    std::vector<int32_t> table(20), out = {first};
    for (int i = 0; i < 20; ++i) table[size_t(i)] = i;
    for (int i = 0; i < steps; ++i) {
      t.forward({{&out.back(), 1, i, table.data(), false, true}}, widths, {.argmax_only = argmax_only});
      out.push_back(t.distribution(0).argmax);
    }
    return out;
  }
  // Logits after the last of `tokens`, fed in pieces of `chunk`, beside `others` unrelated sequences.
  std::vector<float> run(const std::vector<int32_t>& tokens, int chunk, int others, Width width, int skipped_layer = 99,
                         bool prompt = false) {
    Widths widths(t.matrix_names().size(), width);
    if (skipped_layer < 3) widths[size_t(1 + 4 * skipped_layer)] = widths[size_t(2 + 4 * skipped_layer)] = Width{};
    std::vector<std::vector<int32_t>> tables(static_cast<size_t>(others + 1));
    for (int s = 0; s <= others; ++s)
      for (int i = 0; i < 20; ++i) tables[size_t(s)].push_back(s * 20 + (i * 7) % 20);
    const std::vector<int32_t> noise = {5, 9, 200, 31};
    std::vector<float> out;
    for (int at = 0; at < int(tokens.size()); at += chunk) {
      std::vector<SequenceRows> rows;
      const int n = std::min(chunk, int(tokens.size()) - at);
      rows.push_back({tokens.data() + at, n, at, tables[0].data(), false, true});
      for (int s = 1; s <= others; ++s) rows.push_back({noise.data(), std::min(4, s), 0, tables[size_t(s)].data(), false, true});
      t.forward(rows, widths, {.prompt = prompt});
      out.assign(t.logits(0), t.logits(0) + 211);
    }
    return out;
  }
};

inline double distance(const std::vector<float>& a, const std::vector<float>& b) {  // relative
  double error = 0.0, total = 0.0;
  for (size_t i = 0; i < a.size(); ++i) error += (a[i] - b[i]) * double(a[i] - b[i]), total += double(b[i]) * double(b[i]);
  return std::sqrt(error / total);
}

// Logits of the same planes with activations left as floats: the planes unpacked serve as the 16-bit width.
inline std::vector<float> with_floats(const Kernels& k, int width, const std::vector<int32_t>& tokens) {
  Model model(1, k.name);
  std::vector<std::vector<float>> kept;
  for (const auto& name : model.t.matrix_names()) {
    Matrix& m = model.t.matrix(name);
    int first = 0;
    for (const int rows : m.segment_rows) {
      kept.emplace_back(size_t(rows) * size_t(m.cols));
      for (int r = 0; r < rows; ++r) unpack_row(m.planes, first + r, width, m.cols, kept.back().data() + size_t(r) * size_t(m.cols));
      m.segments.push_back({kept.back().data(), DType::f32, rows});
      first += round_up(rows, kTileRows);
    }
  }
  return model.run(tokens, int(tokens.size()), 0, {16});
}

void test_packing();  // test_packing.cc
void test_prompts();  // test_prompts.cc
void test_calls();    // test_calls.cc
void test_not_finite();  // test_not_finite.cc
void test_allocations();  // test_allocations.cc

}  // namespace onesec::test
