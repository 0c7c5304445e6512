// Products of many rows. Where they are the second arithmetic, of prompt chunks: its bits against the same sums written
// out plainly, its error against the weights themselves, and whole prompts through forward(). Where they are not: the bits
// of the decode products.
#include <limits>

#include "support.h"

namespace onesec::test {
namespace {

float flushed(float x) { return std::fabs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x; }

float rounded(float x) {  // to bf16, nearest even
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  bits = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
  std::memcpy(&x, &bits, 4);
  return flushed(x);
}

struct Rounded {
  std::vector<CacheLine> lines;
  PromptRows view;
  Rounded(const PromptKernels& k, const float* x, int rows, int cols) {
    const int padded = round_up(cols, kSuperblock);
    lines.resize(prompt_lines(rows, padded));
    for (CacheLine& line : lines) std::memset(line.bytes, 0x7f, sizeof line.bytes);  // tokens behind the end: anything
    view = {lines.data(), padded};
    for (int r = 0; r < rows; ++r) k.round(x + size_t(r) * size_t(cols), cols, r, view);
  }
};

// A product of one row and one token as the tiles define it: even and odd columns of a group apart, then together.
float plain_product(const std::vector<float>& w, const float* x, int cols) {
  float total = 0.0f;
  for (int begin = 0; begin < cols; begin += kGroup) {
    float even = 0.0f, odd = 0.0f;
    for (int k = begin; k < begin + kGroup && k < cols; ++k) {
      float& sum = k % 2 ? odd : even;
      sum = flushed(std::fma(rounded(x[k]), rounded(w[size_t(k)]), sum));
    }
    total = flushed(total + flushed(even + odd));
  }
  return total;
}

void test_prompt_products(const Kernels& k) {
  const PromptKernels& p = *k.prompt;
  for (const int cols : {32, 64, 100, 160, 257, 600})
    for (const int rows : {16, 48, 70, 150})
      for (const int m : {1, 2, 15, 16, 17, 33, 70}) {
        const auto w = random_floats(size_t(rows) * size_t(cols), uint32_t(rows + cols), 0.1f);
        const auto x = random_floats(size_t(m) * size_t(cols), uint32_t(m));
        const Planes planes(w, rows, cols);
        const Rounded in(p, x.data(), m, cols);
        const int ld = planes.view.rows + 3, tiles = planes.view.rows / kTileRows;  // misaligned rows
        const auto bias = random_floats(size_t(planes.view.rows), 7);
        std::vector<CacheLine> scratch(prompt_scratch_lines(m));
        for (const int width : {4, 8}) {
          const auto run = [&](int first, int count, int tile_begin, int tile_end, const float* b, bool add) {
            const Rounded part(p, x.data() + size_t(first) * size_t(cols), count, cols);
            std::vector<float> y(size_t(m) * size_t(ld), 1.0f);
            (width == 4 ? p.matmul4 : p.matmul8)(planes.view, tile_begin, tile_end, part.view, count, y.data() + size_t(first) * size_t(ld), ld, b,
                                                 add, scratch.data());
            return y;
          };
          const auto y = run(0, m, 0, tiles, bias.data(), false), bare = run(0, m, 0, tiles, nullptr, true);
          PlaneMatrix units = planes.view;  // the same planes without row_scale: whole numbers, exact in float
          const std::vector<float> ones(size_t(units.rows), 1.0f);
          units.row_scale = ones.data();
          std::vector<float> whole(static_cast<size_t>(cols)), exact(static_cast<size_t>(cols));
          bool bits = true, close = true;
          double error = 0.0, total = 0.0;
          for (int r = 0; r < rows; ++r) {
            unpack_row(units, r, width, cols, whole.data()), unpack_row(planes.view, r, width, cols, exact.data());
            for (int t = 0; t < m; ++t) {
              const float sum = plain_product(whole, x.data() + size_t(t) * size_t(cols), cols), unit = planes.scales[size_t(r)];
              const float got = y[size_t(t) * size_t(ld) + size_t(r)];
              bits &= got == std::fma(sum, unit, bias[size_t(r)]) && bare[size_t(t) * size_t(ld) + size_t(r)] == 1.0f + sum * unit;
              double truth = bias[size_t(r)], size = 0.0;
              for (int c = 0; c < cols; ++c) {
                const double term = double(exact[size_t(c)]) * double(x[size_t(t) * size_t(cols) + size_t(c)]);
                truth += term, size += std::fabs(term);
              }
              close &= std::fabs(got - truth) <= size / 255.0 + 1e-6;  // half a unit of eight bits, twice
              error += (got - truth) * (got - truth), total += truth * truth;
            }
          }
          expect(bits, "prompt product: bits of the plain sums", k.name, cols, rows * 1000 + m, width);
          expect(close && std::sqrt(error / total) < 0.004, "prompt product: error of bf16", k.name, cols, rows * 1000 + m, width);
          bool same = true;
          const int cut = m / 3, side = tiles / 2;
          const auto low = run(0, cut, 0, tiles, bias.data(), false), high = run(cut, m - cut, 0, tiles, bias.data(), false);
          const auto left = run(0, m, 0, side, bias.data(), false), right = run(0, m, side, tiles, bias.data(), false);
          for (int t = 0; t < m; ++t)
            for (int r = 0; r < ld; ++r) {
              const size_t at = size_t(t) * size_t(ld) + size_t(r);
              same &= (t < cut ? low : high)[at] == y[at] && (r < side * kTileRows ? left : right)[at] == y[at];
            }
          expect(same, "prompt product: no bit from neighbours", k.name, cols, rows * 1000 + m, width);
        }
      }
}

void test_opened_products(const Kernels& k) {
  for (const int cols : {32, 64, 100, 160, 257, 600})
    for (const int rows : {16, 48, 70, 150, 300})
      for (const int m : {1, 3, 4, 15, 16, 17, 33, 70}) {
        const auto w = random_floats(size_t(rows) * size_t(cols), uint32_t(rows + cols), 0.1f);
        const auto x = random_floats(size_t(m) * size_t(cols), uint32_t(m));
        const Planes planes(w, rows, cols);
        const Rounded in(*k.prompt, x.data(), m, cols);
        const Quantized plain(k, x, m, cols);
        const int ld = planes.view.rows + 3, tiles = planes.view.rows / kTileRows;  // misaligned rows
        const auto bias = random_floats(size_t(planes.view.rows), 7);
        std::vector<CacheLine> scratch(prompt_scratch_lines(m));
        for (const int width : {4, 8})
          for (const bool add : {false, true})
            for (const int begin : {0, tiles / 3}) {
              const float* b = add ? nullptr : bias.data();
              std::vector<float> expected(size_t(m) * size_t(ld), 1.0f), got = expected;
              (width == 4 ? k.matmul4 : k.matmul8)(planes.view, begin, tiles, plain.view, m, expected.data(), ld, b, add);
              (width == 4 ? k.prompt->matmul4 : k.prompt->matmul8)(planes.view, begin, tiles, in.view, m, got.data(), ld, b, add, scratch.data());
              expect(got == expected, "opened product: bits of the decode product", k.name, cols, rows * 1000 + m, width);
            }
      }
}

void test_prompt_forward(const Kernels& k) {
  std::vector<int32_t> prompt;
  for (int i = 0; i < 530; ++i) prompt.push_back((i * 37 + i / 3) % 211);  // past one split of positions
  const std::vector<int32_t> start(prompt.begin(), prompt.begin() + 50);
  Model one(1, k.name), four(4, k.name);
  for (const Width width : {Width{4}, Width{8}}) {
    const auto base = one.run(prompt, 530, 0, width, 99, true);
    expect(four.run(prompt, 64, 0, width, 99, true) == base, "prompt: threads and chunks do not change bits", k.name, width.weights);
    expect(four.run(prompt, 61, 7, width, 99, true) == base, "prompt: neighbours do not change bits", k.name, width.weights);
    expect(four.run(start, 1, 0, width, 99, true) == one.run(start, 50, 0, width, 99, true), "prompt: one token at a time", k.name, width.weights);
    const auto truth = with_floats(k, width.weights, prompt), decode = one.run(prompt, 530, 0, width);
    const double error = distance(base, truth), coarse = distance(decode, truth);
    expect(error < 0.03 && error < coarse, "prompt: nearer to float activations than int8 ones are", k.name, width.weights, int(1e4 * error),
           int(1e4 * coarse));
    // bf16 leaves no rest of 8 bits; the head alone, in the decode arithmetic, comes nearer
    const double fine = distance(one.run(prompt, 530, 0, {width.weights, 16}, 99, true), truth);
    expect(fine < 1.05 * error, "prompt: fine activations", k.name, width.weights, int(1e4 * fine), int(1e4 * error));
    expect(four.run(start, 17, 3, width, 1, true) == one.run(start, 50, 0, width, 1, true), "prompt: a skipped attention", k.name, width.weights);
  }
}

}  // namespace

void test_prompts() {
  for (const Kernels* const* k = available_kernels(); *k; ++k) {
    if (!(*k)->prompt) continue;
    if ((*k)->prompt->decode_bits) {  // whole forwards: test_forward
      test_opened_products(**k);
      continue;
    }
    test_prompt_products(**k);
    test_prompt_forward(**k);
  }
}

}  // namespace onesec::test
