// The GPU's products, run on a CPU, against the scalar twin's activations and double-precision sums.
#include "cuda_support.h"

namespace onesec::test {
namespace {

// One row's activations out of the tensor cores' order.
struct Row {
  std::vector<int8_t> q;
  std::vector<float> scale, offset;
  std::vector<int32_t> residual;
  Row(std::vector<uint8_t>& prepared, int groups, int rows, int row) {
    const int columns = cuda::tile_columns(rows);
    const cuda::Quantized x = cuda::quantized(prepared.data(), groups, columns, row / 8);
    for (int g = 0; g < groups; ++g) {
      const int entry = g * columns + row % 8;
      q.insert(q.end(), x.q + entry * kGroup, x.q + (entry + 1) * kGroup);
      scale.push_back(x.meta[entry].scale), offset.push_back(x.meta[entry].offset);
      residual.push_back(x.start[entry] - cuda::kFloatOrigin);
    }
  }
};

// Without a norm: the bits of the CPU's activations. With one: theirs but for the rounding of the norm.
void test_prepared_activations() {
  const Kernels& twin = **available_kernels();
  for (const int cols : {32, 104, 264, 896, 4136})
    for (const int rows : {1, 2, 3, 8, 9, 16}) {
      const auto x = random_floats(size_t(rows) * size_t(cols), uint32_t(rows), 3.0f);
      const auto weight = random_floats(size_t(cols), 8), bias = random_floats(size_t(cols), 9);
      Product p{};
      p.cols = cols, p.rows = rows, p.superblocks = round_up(cols, kSuperblock) / kSuperblock;
      p.eps = 1e-5f, p.norm_weight = weight.data(), p.norm_bias = bias.data();
      for (const NormKind norm : {NormKind::none, NormKind::rms, NormKind::layer}) {
        p.norm = norm;
        auto prepared = prepare(p, Format::planes4, x);
        std::vector<float> normed = x;
        for (int r = 0; r < rows && norm != NormKind::none; ++r) {
          const float* from = x.data() + size_t(r) * size_t(cols);
          float* to = normed.data() + size_t(r) * size_t(cols);
          if (norm == NormKind::rms) twin.rms_norm(from, weight.data(), p.eps, cols, to);
          else twin.layer_norm(from, weight.data(), bias.data(), p.eps, cols, to);
        }
        const Quantized want(twin, normed, rows, cols);
        for (int r = 0; r < rows; ++r) {
          const Row got(prepared, 2 * p.superblocks, rows, r);
          const QuantRows row = want.view.from(r);
          int apart = 0;
          for (int k = 0; k < row.cols; ++k) {
            expect(std::abs(got.q[size_t(k)] - row.q[k]) <= (norm == NormKind::none ? 0 : 1), "prepared code", "cuda", cols, r, k);
            apart += got.q[size_t(k)] != row.q[k];
          }
          expect(apart <= 1, "prepared codes", "cuda", cols, r, apart);
          for (int g = 0; g < row.groups(); ++g) {
            const float near = norm == NormKind::none ? 0.0f : 1e-6f * row.scale[g];
            expect(std::fabs(got.scale[size_t(g)] - row.scale[g]) <= near, "prepared scale", "cuda", cols, r, g);
            if (apart) continue;
            expect(got.residual[size_t(g)] == row.residual[g], "prepared residual", "cuda", cols, r, g);
            expect(std::fabs(got.offset[size_t(g)] - row.offset[g]) <= near * 8 * 127 * kGroup, "prepared offset", "cuda", cols, r, g);
          }
        }
      }
    }
}

// Rows that are not finite somewhere, or next to nothing: as the scalar twin has them, whoever prepares.
void test_prepared_odd_rows() {
  const Kernels& twin = **available_kernels();
  constexpr int cols = 104;
  Product p{};
  p.cols = cols, p.rows = 1, p.superblocks = 2, p.units = 4;
  const auto check = [&](const std::vector<float>& x, int at) {
    const Quantized want(twin, x, 1, cols);
    std::vector<uint8_t> left(cuda::QuantizedForm::bytes(p), 0xff);
    Product q = p;
    q.x = x.data(), q.feed = left.data();
    // A warp alone, as behind a product.
    emulate<Product>([](Product all) {
      cuda::wait_for_previous();
      for (int unit = 0; unit < all.units; ++unit) {
        const int column = unit * kGroup + int(threadIdx.x);
        cuda::QuantizedForm::leave(all, column < all.cols ? all.x[column] : 0.0f, unit, 0, int(threadIdx.x));
      }
    }, q, 1, 32, 0, [](void*) {}, nullptr);
    auto prepared = prepare(p, Format::planes4, x);
    for (auto* bytes : {&left, &prepared}) {
      const Row got(*bytes, 4, 1, 0);
      const int way = bytes == &prepared;
      expect(got.q == want.q && got.residual == want.residual, "codes of an odd row", "cuda", way, at);
      for (size_t g = 0; g < 4; ++g) {
        const auto alike = [](float a, float b) { return std::isnan(a) ? std::isnan(b) : a == b; };
        expect(alike(want.scale[g], got.scale[g]) && alike(want.offset[g], got.offset[g]), "scale of an odd row", "cuda", way, at, int(g));
      }
    }
  };
  for (const float odd : {std::nanf(""), INFINITY, -INFINITY})
    for (int at = 0; at < cols; ++at)
      for (const float rest : {0.0f, 1.0f, std::nanf("")}) {
        auto x = random_floats(cols, 4);
        if (rest != 1.0f) std::fill(x.begin(), x.end(), rest);
        x[size_t(at)] = odd;
        check(x, at);
      }
  for (int exponent = -149; exponent < 122; ++exponent) {
    auto x = random_floats(cols, 6);
    for (int i = 0; i < cols; ++i) x[size_t(i)] = i % 3 ? 0.0f : std::ldexp(x[size_t(i)], exponent);
    check(x, exponent);
  }
}

// One number that is none, in the second of three rows: that row's products are none, and the others are what they were.
void test_products_of_odd_rows() {
  const int rows = 41, cols = 520, n = 3;
  const Planes packed(random_floats(size_t(rows) * size_t(cols), 3, 0.1f), rows, cols);
  const ExactPlanes w(packed.view);
  for (const Format format : {Format::planes4, Format::planes8})
    for (const float odd : {std::nanf(""), INFINITY})
      for (const int at : {0, 7, 31, 257, 519}) {
        auto x = random_floats(size_t(n) * size_t(cols), 5);
        x[size_t(cols + at)] = odd;
        Product p = product_of(w.view, rows, n, cols);
        Late before = late(prepare(p, format, x));
        std::vector<float> y(size_t(n) * size_t(p.ld_y));
        p.prepared = before.data<uint8_t>(), p.y = y.data();
        run_product(p, format, 2, &before);
        for (int m = 0; m < n; ++m)
          for (int r = 0; r < rows; ++r) {
            const float got = y[size_t(m) * size_t(p.ld_y) + size_t(r)];
            expect(m == 1 ? std::isnan(got) : std::isfinite(got), "a product of an odd row", "cuda", int(format), at, m);
          }
      }
}

struct Exact {
  double value, size;  // of a product; the sum of its terms' absolute values
};

Exact exact_product(const PlaneMatrix& w, int width, int r, const Row& x) {
  double sum = 0.0, size = 0.0;
  for (size_t g = 0; g < x.scale.size(); ++g) {
    const uint8_t* hb = w.hi_tile(r / 16) + g / 2 * kHiBytes;
    const uint8_t* lb = w.lo_tile(r / 16) + g / 2 * kLoBytes;
    long total = 0;
    for (size_t k = 0; k < kGroup; ++k) {
      const size_t column = g % 2 * kGroup + k, byte = column / 8 * 64 + size_t(r % 16) * 4 + column % 4;
      const int shift = column % 8 < 4 ? 0 : 4, hi = hb[byte] >> shift & 15, lo = lb[byte] >> shift & 15;
      total += long(width == 4 ? hi : 16 * hi + lo - 8) * x.q[g * kGroup + k];
    }
    const double scale = hb[kScaleLine + g % 2 * 16 + size_t(r % 16)], minimum = hb[kScaleLine + 32 + g % 2 * 16 + size_t(r % 16)];
    const double a = double(total) * scale * x.scale[g] / (width == 4 ? 1 : 16), b = minimum * x.offset[g];
    sum += a + b, size += std::fabs(a) + std::fabs(b);
  }
  return {sum * w.row_scale[r], size * std::fabs(w.row_scale[r])};
}

void test_plane_products() {
  for (const int cols : {64, 104, 520, 1096})
    for (const int rows : {16, 41}) {
      const auto weights = random_floats(size_t(rows) * size_t(cols), uint32_t(rows + cols), 0.1f);
      const Planes packed(weights, rows, cols);
      const ExactPlanes w(packed.view);
      const auto bias = random_floats(size_t(w.view.rows), 7);
      for (const int width : {4, 8}) {
        std::vector<float> sixteen;
        for (const int n : {16, 9, 8, 5, 4, 3, 2, 1}) {
          const auto all = random_floats(size_t(16) * size_t(cols), 3);
          const std::vector<float> x(all.begin(), all.begin() + n * cols);
          Product p = product_of(w.view, rows, n, cols);
          p.bias = bias.data(), p.add = n % 2;
          const Format format = Format(width);
          auto prepared = prepare(p, format, x);
          Late before = late(prepared);
          p.prepared = before.data<uint8_t>();
          std::vector<float> y(size_t(n) * size_t(p.ld_y), 1.0f);
          p.y = y.data();
          run_product(p, format, 2, &before);
          for (int m = 0; m < n; ++m) {
            const Row row(prepared, 2 * p.superblocks, n, m);
            for (int r = 0; r < p.ld_y; ++r) {
              const float got = y[size_t(m) * size_t(p.ld_y) + size_t(r)];
              if (r >= rows) { expect(got == 1.0f, "nothing behind the rows", "cuda", cols, n, r); continue; }
              const Exact want = exact_product(w.view, width, r, row);
              const double base = double(bias[size_t(r)]) + p.add;
              expect(std::fabs(got - base - want.value) <= 1e-6 * (want.size + std::fabs(base) + 1.0), "plane product", "cuda", cols, n, width);
            }
          }
          if (n % 2 == 0) for (const int blocks : {1, 3}) {
            std::vector<float> other(y.size(), 1.0f);
            p.y = other.data();
            run_product(p, format, blocks, &before);
            expect(same_bits(other, y), "blocks", "cuda", cols, n, width);
          }
          if (n == 16) sixteen = y;
          for (int m = 0; m < n; ++m)
            for (int r = 0; r < rows && !p.add; ++r)
              if (n % 2 == 0) {
                const size_t at = size_t(m) * size_t(p.ld_y) + size_t(r);
                expect(std::memcmp(&y[at], &sixteen[at], 4) == 0, "batch invariance", "cuda", cols, n, width);
              }
          if (n == 1) {  // the odd batches add: against the same sums, added
            Product alone = p;
            std::vector<float> z(y.size());
            alone.add = 0, alone.y = z.data();
            run_product(alone, format, 2, &before);
            expect(std::memcmp(z.data(), sixteen.data(), size_t(rows) * 4) == 0, "batch invariance", "cuda", cols, n, width);
          }
        }
      }
    }
}

template <class Type>
void test_dense_products(Format format, float (*widen)(uint16_t)) {
  for (const int cols : {8, 40, 136, 904, 1152})
    for (const int rows : {16, 48}) {
      const size_t count = size_t(rows) * size_t(cols);
      const auto weights = random_floats(count, uint32_t(rows + cols), 0.1f), bias = random_floats(size_t(rows), 7);
      std::unique_ptr<CacheLine[]> storage(new CacheLine[(count * 2 + 63) / 64]);
      auto* dense = reinterpret_cast<uint16_t*>(storage.get());
      for (size_t i = 0; i < count; ++i) dense[i] = Type::round(weights[i]);
      std::vector<float> sixteen;
      for (const int n : {16, 9, 8, 3, 2, 1}) {
        const auto all = random_floats(size_t(16) * size_t(cols), 3);
        const std::vector<float> x(all.begin(), all.begin() + n * cols);
        Product p{};
        p.dense = dense, p.bias = bias.data(), p.cols = cols, p.rows = n, p.superblocks = (cols + kGroup - 1) / kGroup;
        p.units = p.part_tiles = rows / kTileRows, p.ld_y = rows + 3, p.outputs = rows;
        const auto prepared = prepare(p, format, x);
        Late before = late(prepared);
        std::vector<float> y(size_t(n) * size_t(p.ld_y), 1.0f), other = y;
        p.prepared = before.data<uint8_t>(), p.y = y.data();
        run_product(p, format, 2, &before);
        p.y = other.data();
        run_product(p, format, 1, &before);
        expect(same_bits(y, other), "blocks", "cuda", cols, n, 16);
        if (n == 16) sixteen = y;
        for (int m = 0; m < n; ++m)
          for (int r = 0; r < rows; ++r) {
            double sum = bias[size_t(r)], size = std::fabs(sum);
            for (int k = 0; k < cols; ++k) {
              const double term = double(widen(dense[size_t(r) * size_t(cols) + size_t(k)])) * widen(Type::round(x[size_t(m) * size_t(cols) + size_t(k)]));
              sum += term, size += std::fabs(term);
            }
            const size_t at = size_t(m) * size_t(p.ld_y) + size_t(r);
            expect(std::fabs(y[at] - sum) <= 1e-6 * size, "dense product", "cuda", cols, n, r);
            expect(std::memcmp(&y[at], &sixteen[at], 4) == 0, "batch invariance", "cuda", cols, n, 16);
          }
      }
    }
}

// How products are spread over a GPU of 132 multiprocessors, as on an H200, and over a small one.
void test_plans() {
  for (const int multiprocessors : {2, 132})
    for (const size_t shared : {size_t(100) << 10, size_t(228) << 10})
      for (const cuda::Needs& needs : {cuda::Needs{2048, 34816, 8, 4}, cuda::Needs{2048, 18432, 8, 4}, cuda::Needs{11264, 34816, 2, 2}, cuda::Needs{20480, 18432, 3, 1}})
        for (const int cols : {64, 2048, 4096, 14336})
          for (const int units : {1, 3, 56, 128, 384, 448, 8016})
            for (const int kind : {0, 1, 2, 3}) {  // plain, paired, with inner values, gated
              Product p{};
              uint8_t feed = 0;
              p.units = units, p.superblocks = cols / kSuperblock;
              p.paired = kind == 1, p.feed = kind ? &feed : nullptr, p.gated = kind == 3;
              const cuda::Plan made = cuda::plan(p, needs, multiprocessors, shared);
              const int tiles = units * cuda::tiles_of_unit(p), left = units - made.product.first_shared;
              expect(made.product.slots >= 1 && made.product.slots <= needs.most_slots, "slots", "plan", cols, units, kind);
              expect(made.shared == needs.fixed + size_t(made.product.slots) * needs.slot && made.shared <= shared, "shared memory", "plan", cols, units, kind);
              expect(made.blocks >= 1 && made.blocks <= tiles, "blocks", "plan", cols, units, kind);
              expect(!p.paired || made.blocks == tiles, "a pair's blocks", "plan", cols, units, kind);
              expect(left == 0 || (kind >= 2 && left * cuda::tiles_of_unit(p) <= made.blocks), "shared units", "plan", cols, units, kind);
              expect(left > 0 || p.paired || made.blocks <= units, "idle blocks", "plan", cols, units, kind);
            }
  const auto of = [](int units, int cols, bool feeds) {
    static uint8_t feed;
    Product p{};
    p.units = units, p.superblocks = cols / kSuperblock, p.feed = feeds ? &feed : nullptr, p.gated = feeds;
    return cuda::plan(p, {2048, 34816, 8, 4}, 132, size_t(228) << 10);
  };
  const cuda::Plan qkv = of(384, 4096, false), up = of(448, 4096, true), head = of(8016, 4096, false);
  expect(qkv.blocks == 384 && qkv.product.slots == 2, "a tile each", "plan", qkv.blocks, qkv.product.slots, 0);
  expect(up.blocks == 264 && up.product.slots == 3, "walking blocks", "plan", up.blocks, up.product.slots, 0);
  expect(head.blocks == 264 && head.product.slots == 3, "walking blocks", "plan", head.blocks, head.product.slots, 0);
}

}  // namespace
}  // namespace onesec::test

int main() {
#if defined(__SANITIZE_THREAD__)
  constexpr bool fibers = false;
#else
  constexpr bool fibers = true;
#endif
  if (!fibers) {
    std::printf("one thread only, and fibers that this sanitizer does not know: not run\n");
    return 0;
  }
  using namespace onesec;
  using namespace onesec::test;
  test_plans();
  test_prepared_activations();
  test_prepared_odd_rows();
  test_products_of_odd_rows();
  test_plane_products();
  test_dense_products<cuda::Bf16>(Format::bf16, emulation::widen_bf16);
  test_dense_products<cuda::Half>(Format::half, emulation::widen_half);
  test_cuda_feed();
  test_cuda_attention();
  std::printf("%d checks, %d failures\n", checks, failures);
  return failures ? 1 : 0;
}
