// What follows a product on the GPU: the inner values of a feed-forward network. And planes that are opened.
#include "cuda_support.h"

namespace onesec::test {
namespace {

double activated(cuda::Activation kind, double x) {
  switch (kind) {
    case cuda::Activation::silu: return x / (1.0 + std::exp(-x));
    case cuda::Activation::gelu_tanh: return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
    case cuda::Activation::gelu: return 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0)));
    default: return std::max(x, 0.0);
  }
}

// Against the plain product of the same weights, activated in double precision; and its prepared form is that of its values.
void check_feed(Product p, Format format, const std::vector<float>& x, int size, bool gated) {
  auto before = late(prepare(p, format, x));
  p.prepared = before.data<uint8_t>();
  const int half = round_up(size, kTileRows), n = p.rows;
  std::vector<float> plain(size_t(n) * size_t(p.ld_y));
  p.y = plain.data();
  run_product(p, format, 2, &before);

  const bool planes = p.hi != nullptr;
  Product feed = p, next{};
  next.cols = size, next.rows = n, next.superblocks = planes ? round_up(size, kSuperblock) / kSuperblock : (size + kGroup - 1) / kGroup;
  std::vector<float> inner(size_t(n) * size_t(size), NAN);
  std::vector<uint8_t> prepared(planes ? cuda::QuantizedForm::bytes(next) : cuda::RoundedForm<cuda::Bf16>::bytes(next), 0xff);
  feed.feed = prepared.data(), feed.y = inner.data(), feed.ld_y = feed.size = size, feed.gated = gated;
  feed.part_tiles = half / kTileRows, feed.units = planes ? 2 * next.superblocks : next.superblocks;
  // The sums of shared units, and a counter for each.
  std::vector<float> shared(cuda::shared_floats(feed, format), NAN);
  std::vector<int32_t> arrived(size_t(feed.units), 0);
  feed.shared = shared.data(), feed.arrived = arrived.data();
  for (const auto kind : {cuda::Activation::silu, cuda::Activation::gelu_tanh, cuda::Activation::gelu, cuda::Activation::relu}) {
    feed.activation = kind;
    run_product(feed, format, 2, &before);
    for (int m = 0; m < n; ++m)
      for (int i = 0; i < size; ++i) {
        const float* y = plain.data() + size_t(m) * size_t(p.ld_y);
        const double up = gated ? y[half + i] : 1.0, want = activated(kind, y[i]) * up;
        expect(std::fabs(inner[size_t(m) * size_t(size) + size_t(i)] - want) <= 1e-6 * (std::fabs(want) + std::fabs(up)), "inner value", "cuda", size, n, i);
      }
    // The same bits however many blocks there are: few share no unit, 5 and 7 share some, 64 have a tile each.
    for (const int blocks : {1, 5, 7, 64}) {
      if (kind != cuda::Activation::silu) break;
      std::vector<float> other(inner.size(), NAN);
      std::vector<uint8_t> other_prepared(prepared.size(), 0xff);
      Product q = feed;
      q.y = other.data(), q.feed = other_prepared.data();
      run_product(q, format, blocks, &before);
      expect(same_bits(other, inner), "inner values of shared units", "cuda", size, n, blocks);
      if (n == 1 || n == 8 || n == 16) expect(other_prepared == prepared, "prepared values of shared units", "cuda", size, n, blocks);
      expect(std::all_of(arrived.begin(), arrived.end(), [](int32_t count) { return count == 0; }), "counters are zeros again", "cuda", size, n, blocks);
    }
    const auto again = prepare(next, format, inner);
    if (n == 1 || n == 8 || n == 16)  // no columns that nobody writes
      expect(again == prepared, "prepared inner values", "cuda", size, n, int(format));
  }
}

// A product added to the residual stream, and what it leaves for the norm and product that read it next.
void check_stream(Product p, Format format, const std::vector<float>& x, int hidden) {
  Late before = late(prepare(p, format, x));
  p.prepared = before.data<uint8_t>(), p.add = 1, p.ld_y = hidden, p.outputs = hidden;
  const int n = p.rows;
  const auto stream = random_floats(size_t(n) * size_t(hidden), 21), weight = random_floats(size_t(hidden), 22, 2.0f);
  std::vector<float> plain = stream, left = stream;
  p.y = plain.data();
  run_product(p, format, 2, &before);

  const bool planes = p.hi != nullptr;
  Product next{};
  next.cols = hidden, next.rows = n, next.superblocks = planes ? round_up(hidden, kSuperblock) / kSuperblock : (hidden + kGroup - 1) / kGroup;
  std::vector<uint8_t> feed(planes ? cuda::QuantizedForm::bytes(next) : cuda::RoundedForm<cuda::Bf16>::bytes(next), 0xff);
  p.units = planes ? 2 * next.superblocks : next.superblocks;
  std::vector<float> squares(size_t(n) * size_t(p.units), NAN);
  p.y = left.data(), p.feed = feed.data(), p.feed_weight = weight.data(), p.feed_squares = squares.data(), p.paired = 1;
  run_product(p, format, 0, &before);
  expect(same_bits(left, plain), "the stream, paired", "cuda", hidden, n, int(format));
  auto weighted = plain;
  for (size_t i = 0; i < weighted.size(); ++i) weighted[i] *= weight[i % size_t(hidden)];
  if (n == 1 || n == 8 || n == 16)  // no columns that nobody writes
    expect(prepare(next, format, weighted) == feed, "the stream, prepared", "cuda", hidden, n, int(format));
  for (int m = 0; m < n; ++m)
    for (int unit = 0; unit < p.units; ++unit) {
      double want = 0.0;
      for (int i = unit * kGroup; i < std::min(hidden, (unit + 1) * kGroup); ++i) want += double(plain[size_t(m * hidden + i)]) * plain[size_t(m * hidden + i)];
      expect(std::fabs(squares[size_t(m * p.units + unit)] - want) <= 1e-6 * want, "squares", "cuda", hidden, m, unit);
    }
}

// What reads a stream that lacks its norm's factor: the product of it, times that.
void check_factor(Product p, Format format, const std::vector<float>& x) {
  Late before = late(prepare(p, format, x));
  const int n = p.rows, groups = format == Format::bf16 ? p.superblocks : 2 * p.superblocks;
  p.prepared = before.data<uint8_t>();
  std::vector<float> plain(size_t(n) * size_t(p.ld_y), NAN), got = plain, squares(size_t(n) * size_t(groups));
  const float *bias = p.bias;
  p.y = plain.data(), p.bias = nullptr;
  run_product(p, format, 2, &before);
  for (size_t i = 0; i < squares.size(); ++i) squares[i] = 0.1f + float(i % 7);
  Late late_squares = late(squares);
  struct Both { Late *a, *b; } both{&before, &late_squares};
  p.squares = late_squares.data<float>(), p.y = got.data(), p.bias = bias;
  before.poison(), late_squares.poison();
  cuda::launch_product(p, format, [&](void (*kernel)(Product), const cuda::Needs& needs) {
    const cuda::Plan made = cuda::plan(p, needs, 2, 200 << 10);
    emulate(kernel, made.product, made.blocks, cuda::kBlockThreads, made.shared, [](void* l) { static_cast<Both*>(l)->a->write(), static_cast<Both*>(l)->b->write(); }, &both);
  });
  for (int m = 0; m < n; ++m) {
    double sum = 0.0;
    for (int i = 0; i < groups; ++i) sum += squares[size_t(m * groups + i)];
    const double factor = 1.0 / std::sqrt(sum / p.cols + double(p.eps));
    for (int r = 0; r < p.outputs; ++r) {
      const size_t at = size_t(m) * size_t(p.ld_y) + size_t(r);
      const double want = plain[at] * factor + bias[r];
      expect(std::fabs(got[at] - want) <= 1e-5 * (std::fabs(plain[at] * factor) + std::fabs(bias[r])), "a product of a stream", "cuda", p.cols, m, r);
    }
  }
}

void test_streams() {
  const int cols = 136;
  for (const int hidden : {32, 48, 104, 160, 192}) {
    const int rows = round_up(hidden, kTileRows);
    auto weights = random_floats(size_t(rows) * cols, uint32_t(hidden), 0.3f);
    const Planes packed(weights, rows, cols);
    const ExactPlanes w(packed.view);
    const auto bias = random_floats(size_t(rows), 7);
    std::unique_ptr<CacheLine[]> storage(new CacheLine[(weights.size() * 2 + 63) / 64]);
    auto* dense = reinterpret_cast<uint16_t*>(storage.get());
    for (size_t i = 0; i < weights.size(); ++i) dense[i] = cuda::Bf16::round(weights[i]);
    for (const int n : {1, 2, 3, 8, 9, 16}) {
      const auto x = random_floats(size_t(n) * cols, 3);
      for (const Format format : {Format::planes4, Format::planes8, Format::bf16}) {
        Product p = product_of(w.view, rows, n, cols);
        if (format == Format::bf16) p.hi = p.lo = nullptr, p.row_scale = nullptr, p.dense = dense, p.superblocks = (cols + kGroup - 1) / kGroup;
        p.bias = bias.data(), p.eps = 1e-5f;
        check_stream(p, format, x, hidden);
        check_factor(p, format, x);
      }
    }
  }
}

void test_odd_activations() {
  for (const auto kind : {cuda::Activation::silu, cuda::Activation::gelu_tanh, cuda::Activation::gelu, cuda::Activation::relu})
    expect(std::isnan(cuda::activate(kind, std::nanf(""))), "what is not a number, activated", "cuda", int(kind));
}

void test_feeds() {
  const int cols = 96;
  for (const int size : {32, 80, 96, 200})
    for (const bool gated : {true, false}) {
      const int half = round_up(size, kTileRows), rows = gated ? 2 * half : half;
      auto weights = random_floats(size_t(rows) * cols, uint32_t(size), 0.3f);
      const Planes packed(weights, rows, cols);
      const ExactPlanes w(packed.view);
      const auto bias = random_floats(size_t(rows), 7), norm = random_floats(cols, 5);
      std::unique_ptr<CacheLine[]> storage(new CacheLine[weights.size() * 2 / 64]);
      auto* dense = reinterpret_cast<uint16_t*>(storage.get());
      for (size_t i = 0; i < weights.size(); ++i) dense[i] = cuda::Bf16::round(weights[i]);
      for (const int n : {1, 3, 8, 16}) {
        const auto x = random_floats(size_t(n) * cols, 3);
        for (const Format format : {Format::planes4, Format::planes8, Format::bf16}) {
          Product p = product_of(w.view, rows, n, cols);
          if (format == Format::bf16) p.hi = p.lo = nullptr, p.row_scale = nullptr, p.dense = dense, p.superblocks = cols / kGroup;
          p.bias = bias.data(), p.norm = NormKind::rms, p.norm_weight = norm.data(), p.eps = 1e-5f;
          check_feed(p, format, x, size, gated);
        }
      }
    }
}

void test_open_planes() {
  for (const int cols : {64, 100, 136})
    for (const int width : {4, 8}) {
      const int rows = 41;
      const Planes packed(random_floats(size_t(rows) * size_t(cols), 9, 0.1f), rows, cols);
      const ExactPlanes w(packed.view);
      Product p = product_of(w.view, rows, 1, cols);
      std::vector<uint16_t> out(size_t(w.view.rows) * size_t(cols), 0xffff);
      p.feed = out.data();
      cuda::launch_open<cuda::Bf16>(Format(width), [&](void (*kernel)(Product)) { run_kernel(kernel, p, cuda::open_blocks(p), 0, nullptr); });
      std::vector<float> row(size_t(w.view.cols));
      for (int r = 0; r < rows; ++r) {
        unpack_row(w.view, r, width, cols, row.data());
        for (int c = 0; c < cols; ++c) {
          const float got = emulation::widen_bf16(out[size_t(r) * size_t(cols) + size_t(c)]), want = row[size_t(c)];
          // bf16 keeps eight bits; where scale and minimum nearly cancel, the rounding of their difference.
          expect(std::fabs(got - want) <= std::fabs(want) / 256 + 1e-6f, "an opened value", "cuda", cols, r, width);
        }
      }
    }
}

}  // namespace

void test_cuda_feed() {
  test_open_planes();
  test_odd_activations();
  test_feeds();
  test_streams();
}

}  // namespace onesec::test
