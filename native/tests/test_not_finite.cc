// Numbers that are not finite stay so through every kernel that rounds or compares, with the bits of the scalar twin; and
// numbers next to nothing do not become such.
#include <algorithm>
#include <limits>
#include <utility>

#include "support.h"

namespace onesec::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) { return std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0; }

bool finite(const float* x, int n) { return std::all_of(x, x + n, [](float v) { return std::isfinite(v); }); }
bool none_is_number(const std::vector<float>& x) { return std::all_of(x.begin(), x.end(), [](float v) { return std::isnan(v); }); }

// Rows of `n` values: an odd one at each place (of many every fifth) among others of each kind, and rows of one size from
// nothing to the largest.
std::vector<std::vector<float>> odd_rows(int n) {
  std::vector<std::vector<float>> rows;
  const auto normal = random_floats(size_t(n), uint32_t(n));
  for (const float odd : {kNan, -kNan, kInfinity, -kInfinity})
    for (int at = 0; at < n; at += n > 33 ? 5 : 1)
      for (const float rest : {0.0f, 1.0f, 1e-41f, kInfinity, kNan}) {
        auto row = normal;
        for (float& x : row) x = rest == 1.0f ? x : rest;
        row[size_t(at)] = odd;
        rows.push_back(row);
      }
  for (int exponent = -149; exponent < 122; exponent += exponent < -115 ? 1 : 9)
    for (const bool gaps : {false, true}) {
      auto row = normal;
      for (int i = 0; i < n; ++i) row[size_t(i)] = gaps && i % 3 ? 0.0f : std::ldexp(row[size_t(i)], exponent);
      rows.push_back(row);
    }
  rows.emplace_back(size_t(n), 0.0f), rows.emplace_back(size_t(n), -0.0f), rows.emplace_back(size_t(n), std::numeric_limits<float>::max());
  return rows;
}

void test_groups(const Kernels& twin, const Kernels& k) {
  for (const int cols : {1, 15, 16, 17, 31, 32, 33, 47, 64})
    for (const auto& x : odd_rows(cols)) {
      const Quantized a(twin, x, 1, cols), b(k, x, 1, cols);
      expect(same(a.q, b.q) && same(a.scale, b.scale) && same(a.offset, b.offset) && same(a.residual, b.residual), "quantize", k.name, cols);
      std::vector<float> left(x.size());
      k.remainder(x.data(), cols, left.data());
      for (int g = 0; g < int(b.scale.size()); ++g) {
        const int begin = g * kGroup, count = std::min(kGroup, cols - begin);
        const bool fine = count <= 0 || finite(x.data() + begin, count);
        expect(std::isnan(b.scale[size_t(g)]) == !fine && std::isnan(b.offset[size_t(g)]) == !fine, "the scale of a group", k.name, cols, g);
        bool told = true, near = true;
        for (int i = begin; i < begin + count; ++i) {
          const double value = x[size_t(i)], step = b.scale[size_t(g)];
          told = told && std::isnan(left[size_t(i)]) == !fine;
          // Next to nothing may count for nothing.
          near = near && (!fine || std::fabs(value - step * b.q[size_t(i)]) <= 0.5001 * step + double(kLeast));
        }
        expect(told, "the remainder of a group", k.name, cols, g);
        expect(near, "the codes of a group", k.name, cols, g);
      }
    }
}

void test_products_of_odd_rows(const Kernels& k) {
  const int rows = 48, cols = 100;
  const Planes p(random_floats(size_t(rows) * size_t(cols), 3, 0.1f), rows, cols);
  for (const float odd : {kNan, kInfinity})
    for (int at = 0; at < cols; ++at) {
      auto x = random_floats(size_t(2 * cols), 5);
      x[size_t(at)] = odd;
      const Quantized in(k, x, 2, cols);
      for (const int width : {4, 8}) {
        std::vector<float> y(static_cast<size_t>(2 * rows));
        (width == 4 ? k.matmul4 : k.matmul8)(p.view, 0, rows / kTileRows, in.view, 2, y.data(), rows, nullptr, false);
        expect(none_is_number({y.begin(), y.begin() + rows}) && finite(y.data() + rows, rows), "a product", k.name, width, at);
      }
    }
}

void test_activations(const Kernels& k) {
  for (const Activation kind : {Activation::silu, Activation::gelu_tanh, Activation::gelu, Activation::relu})
    for (int at = 0; at < 33; ++at) {
      auto x = random_floats(33, 4);
      x[size_t(at)] = kNan;
      std::vector<float> y(33);
      k.activate(kind, x.data(), nullptr, 33, y.data());
      for (int i = 0; i < 33; ++i) expect(std::isnan(y[size_t(i)]) == (i == at), "an activation", k.name, int(kind), at, i);
    }
  std::vector<float> x(33, kNan);
  k.softcap(x.data(), 33, 5.0f);
  expect(none_is_number(x), "a capped score", k.name);
}

struct Cache {  // a block of keys and values of 32 positions
  DType dtype;
  int head_dim;
  std::vector<CacheLine> keys, values;
  std::vector<float> key_scales, value_scales;
  Cache(DType dtype_in, int head_dim_in)
      : dtype(dtype_in), head_dim(head_dim_in), keys(size_t(head_dim) * kBlockTokens * 4 / 64), values(keys), key_scales(kBlockTokens), value_scales(key_scales) {}
  void write(const Kernels& k, int slot, const float* key, const float* value) {
    k.write_keys(key, head_dim, dtype, slot, keys.data(), dtype == DType::i8 ? &key_scales[size_t(slot)] : nullptr);
    k.write_values(value, head_dim, dtype, slot, values.data(), dtype == DType::i8 ? &value_scales[size_t(slot)] : nullptr);
  }
  // One query head at the last of `count` positions: the sums, then the sum of weights.
  std::vector<float> attend(const Kernels& k, const std::vector<float>& query, int count, int window, float softcap) const {
    std::vector<float> out(static_cast<size_t>(head_dim)), scratch(static_cast<size_t>(attention_scratch_floats(1, 1, head_dim)));
    float state[2];
    const int32_t table = 0;
    AttentionTask t{};
    t.q = query.data(), t.ld_q = t.ld_out = t.head_dim = head_dim, t.out = out.data(), t.max_sum = state;
    t.queries = t.heads = 1, t.first_position = count - 1, t.window = window, t.end = kBlockTokens, t.block_table = &table;
    t.keys = keys[0].bytes, t.values = values[0].bytes, t.key_scales = key_scales.data(), t.value_scales = value_scales.data();
    t.dtype = dtype, t.scale = 0.25f, t.softcap = softcap, t.scratch = scratch.data();
    k.attention(t);
    out.push_back(state[1]);
    return out;
  }
};

void test_cached_bytes(const Kernels& twin, const Kernels& k) {
  for (const int head_dim : {8, 16, 40, 64})
    for (const auto& row : odd_rows(head_dim)) {
      Cache a(DType::i8, head_dim), b(DType::i8, head_dim);
      a.write(twin, 3, row.data(), row.data()), b.write(k, 3, row.data(), row.data());
      expect(std::memcmp(a.keys.data(), b.keys.data(), a.keys.size() * 64) == 0 && std::memcmp(a.values.data(), b.values.data(), a.values.size() * 64) == 0,
             "bytes of the cache", k.name, head_dim);
      expect(same(a.key_scales, b.key_scales) && same(a.value_scales, b.value_scales), "scales of the cache", k.name, head_dim);
      const bool fine = finite(row.data(), head_dim);
      expect(std::isnan(b.key_scales[3]) == !fine && std::isnan(b.value_scales[3]) == !fine, "a scale of the cache", k.name, head_dim);
    }
}

void test_attention(const Kernels& k) {
  constexpr int hd = 40;
  const auto query = random_floats(hd, 1);
  for (const DType dtype : {DType::f32, DType::f16, DType::i8})
    for (const int count : {1, 16, 17, 32})
      for (const int window : {0, 1, 5})
        for (const float softcap : {0.0f, 5.0f}) {
          const auto attend = [&](int slot, int side, float odd) {
            Cache cache(dtype, hd);
            for (int i = 0; i < count; ++i) {
              auto key = random_floats(hd, uint32_t(10 + i)), value = random_floats(hd, uint32_t(50 + i));
              if (i == slot) (side ? value : key)[size_t((7 * i + 3) % hd)] = odd;
              cache.write(k, i, key.data(), value.data());
            }
            return cache.attend(k, query, count, window, softcap);
          };
          expect(finite(attend(-1, 0, 0.0f).data(), hd + 1), "attention to numbers", k.name, int(dtype), count, window);
          const int first = window ? std::max(0, count - window) : 0;
          for (int slot = count - 1; slot >= first; slot -= slot > first + 2 ? 3 : 1) {
            expect(none_is_number(attend(slot, 0, kNan)), "attention to a key that is no number", k.name, int(dtype), count, slot);
            const auto out = attend(slot, 1, kNan);
            expect(std::isnan(out[size_t((7 * slot + 3) % hd)]), "attention to a value that is no number", k.name, int(dtype), count, slot);
          }
          Cache cache(dtype, hd);
          for (int i = 0; i < count; ++i) cache.write(k, i, random_floats(hd, uint32_t(i)).data(), query.data());
          for (const float odd : {kNan, kInfinity, -kInfinity}) {
            if (softcap > 0.0f && !std::isnan(odd)) continue;  // an infinite score is capped
            auto q = query;
            q[5] = odd;
            expect(none_is_number(cache.attend(k, q, count, window, softcap)), "attention of a query that is not finite", k.name, int(dtype), count, window);
          }
        }
}

// One row's scale damaged, of whichever matrix: the logits tell.
void test_damaged_models(const Kernels& k) {
  const std::vector<int32_t> tokens = {3, 8, 120, 7, 45};
  for (const DType cache : {DType::f16, DType::i8}) {
    Model model(1, k.name, cache);
    for (const auto& name : model.t.matrix_names()) {
      const PlaneMatrix& planes = model.t.matrix(name).planes;
      float& scale = const_cast<float&>(planes.row_scale[5]);
      const float sound = std::exchange(scale, kNan);
      for (const Width width : {Width{4}, Width{8}, Width{8, 16}}) {
        model.run(tokens, 5, 0, width);
        expect(!model.t.finite(0), ("a damaged model: " + name).c_str(), k.name, width.weights, width.activations, int(cache));
      }
      scale = sound;
      model.run(tokens, 5, 0, {8});
      expect(model.t.finite(0), "a sound model", k.name, int(cache));
    }
  }
}

}  // namespace

void test_not_finite() {
  const Kernels& twin = **available_kernels();
  for (const Kernels* const* k = available_kernels(); *k; ++k) {
    test_groups(twin, **k);
    test_products_of_odd_rows(**k);
    test_activations(**k);
    test_cached_bytes(twin, **k);
    test_attention(**k);
    test_damaged_models(**k);
  }
}

}  // namespace onesec::test
