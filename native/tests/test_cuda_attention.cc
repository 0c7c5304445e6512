// The GPU's attention of single tokens, run on a CPU, against double-precision sums.
#include "cuda_support.h"

namespace onesec::test {
namespace {

using cuda::Attention;

struct Heads {
  int kv_heads, group, head_dim;
};

// What is done to heads before they meet.
struct Turning {
  int half = 0;  // 0: nothing is turned
  bool norms = false;
};

// A paged cache of random values and rows at given positions of sequences: rows of the same sequence share a table.
struct Case {
  Heads heads;
  std::vector<int> positions, sequences;
  int table_stride, blocks;
  std::vector<uint16_t> keys, values;
  std::vector<int32_t> tables;
  std::vector<float> qkv, rotary, q_norm, k_norm;
  int qkv_stride, k_offset, v_offset;
  Turning turning;

  Case(Heads h, std::vector<int> at, std::vector<int> whose, Turning t = {}) : heads(h), positions(std::move(at)), sequences(std::move(whose)), turning(t) {
    const int longest = *std::max_element(positions.begin(), positions.end());
    k_offset = h.group * h.kv_heads * h.head_dim, v_offset = k_offset + h.kv_heads * h.head_dim;
    for (int p = 0; p <= longest && t.half; ++p)
      for (int part = 0; part < 2; ++part)
        for (int i = 0; i < t.half; ++i) rotary.push_back(float(part ? std::sin(p / (1.0 + i)) : std::cos(p / (1.0 + i))));
    if (t.norms) q_norm = random_floats(size_t(h.head_dim), 8), k_norm = random_floats(size_t(h.head_dim), 9);
    table_stride = longest / cuda::kCacheTokens + 2, blocks = 3 + table_stride * int(positions.size());
    const size_t count = size_t(blocks) * size_t(h.kv_heads * cuda::kCacheTokens * h.head_dim);
    for (const float x : random_floats(count, 3, 1.0f)) keys.push_back(cuda::Half::round(x));
    for (const float x : random_floats(count, 4, 1.0f)) values.push_back(cuda::Half::round(x));
    tables.assign(positions.size() * size_t(table_stride), 0);
    for (size_t r = 0; r < positions.size(); ++r)  // blocks of a sequence lie apart and out of order
      for (int b = 0; b < table_stride; ++b) tables[r * size_t(table_stride) + size_t(b)] = (sequences[r] * table_stride + (table_stride - 1 - b)) % blocks;
    qkv_stride = (h.group + 2) * h.kv_heads * h.head_dim + 16;
    qkv = random_floats(positions.size() * size_t(qkv_stride), 5, 2.0f);
  }
  size_t place(int row, int kv, int at) const {
    const int block = tables[size_t(row) * size_t(table_stride) + size_t(at / cuda::kCacheTokens)];
    return ((size_t(block) * size_t(heads.kv_heads) + size_t(kv)) * cuda::kCacheTokens + size_t(at % cuda::kCacheTokens)) * size_t(heads.head_dim);
  }
};

constexpr double kEps = 1e-6;

// A head of a row, normed and turned.
std::vector<double> turned(const Case& c, int row, int offset, const std::vector<float>& norm) {
  const int size = c.heads.head_dim, half = c.turning.half;
  const float* from = c.qkv.data() + size_t(row) * size_t(c.qkv_stride) + offset;
  std::vector<double> x(from, from + size), out;
  if (!norm.empty()) {
    double squares = 0.0;
    for (const double v : x) squares += v * v;
    for (int d = 0; d < size; ++d) x[size_t(d)] *= norm[size_t(d)] / std::sqrt(squares / size + kEps);
  }
  out = x;
  const float* angles = c.rotary.data() + size_t(c.positions[size_t(row)]) * size_t(2 * half);
  for (int i = 0; i < half; ++i) {
    const double a = x[size_t(i)], b = x[size_t(i + half)], cosine = angles[i], sine = angles[half + i];
    out[size_t(i)] = a * cosine - b * sine, out[size_t(i + half)] = b * cosine + a * sine;
  }
  return out;
}

std::vector<double> exact(const Case& c, int row, int kv, int query, int window, float scale, float softcap) {
  const Heads& h = c.heads;
  const int position = c.positions[size_t(row)], first = window > 0 ? std::max(0, position + 1 - window) : 0;
  std::vector<double> scores, out(size_t(h.head_dim), 0.0);
  double top = -1e300, weight = 0.0;
  const auto q = turned(c, row, (kv * h.group + query) * h.head_dim, c.q_norm);
  for (int at = first; at <= position; ++at) {
    double score = 0.0;
    for (int d = 0; d < h.head_dim; ++d)
      score += q[size_t(d)] * emulation::widen_half(c.keys[c.place(row, kv, at) + size_t(d)]);
    score *= scale;
    if (softcap > 0.0f) score = softcap * std::tanh(score / softcap);
    scores.push_back(score), top = std::max(top, score);
  }
  for (int at = first; at <= position; ++at) {
    const double p = std::exp(scores[size_t(at - first)] - top);
    weight += p;
    for (int d = 0; d < h.head_dim; ++d) out[size_t(d)] += p * emulation::widen_half(c.values[c.place(row, kv, at) + size_t(d)]);
  }
  for (double& x : out) x /= weight;
  return out;
}

// What the kernel before writes, and what is not there yet: keys and values of this step's rows.
struct Before {
  Case* c;
  std::vector<float> qkv;
  static void write(void* state) {
    auto* b = static_cast<Before*>(state);
    b->c->qkv = b->qkv;
  }
  explicit Before(Case& of) : c(&of), qkv(of.qkv) {
    std::fill(of.qkv.begin(), of.qkv.end(), NAN);
    for (size_t r = 0; r < of.positions.size(); ++r)
      for (int kv = 0; kv < of.heads.kv_heads; ++kv)
        for (int d = 0; d < of.heads.head_dim; ++d)
          of.keys[of.place(int(r), kv, of.positions[r]) + size_t(d)] = of.values[of.place(int(r), kv, of.positions[r]) + size_t(d)] = 0x7e00;  // NaN
  }
};

// The cache has the rows' keys and values afterwards; `feed`: what is left prepared for the product that follows.
std::vector<float> attention(Case& c, int window, float scale, float softcap, Format form = Format::none, std::vector<uint8_t>* feed = nullptr) {
  const Heads& h = c.heads;
  Attention a{};
  a.positions = c.positions.data(), a.tables = c.tables.data();
  a.rows = int(c.positions.size()), a.qkv_stride = c.qkv_stride, a.table_stride = c.table_stride;
  a.kv_heads = h.kv_heads, a.group = h.group, a.head_dim = h.head_dim, a.window = window, a.scale = scale, a.softcap = softcap;
  a.k_offset = c.k_offset, a.v_offset = c.v_offset, a.half = c.turning.half, a.q_eps = a.k_eps = float(kEps);
  if (c.turning.half) a.rotary = c.rotary.data();
  if (c.turning.norms) a.q_norm = c.q_norm.data(), a.k_norm = c.k_norm.data();
  std::vector<float> out(size_t(a.rows * h.kv_heads * h.group * h.head_dim), NAN);
  Before before(c);
  a.feed_form = form, a.feed = feed ? feed->data() : nullptr;
  a.qkv = c.qkv.data(), a.out = out.data(), a.keys = c.keys.data(), a.values = c.values.data();
  cuda::launch_attention(a, [&](void (*kernel)(Attention), int blocks, int threads, size_t shared) {
    emulation::cluster(cuda::kSplits);
    emulate(kernel, a, blocks, threads, shared, Before::write, &before);
    emulation::cluster(1);
  });
  return out;
}

void check(Case c, int window, float softcap) {
  const Heads& h = c.heads;
  const float scale = 1.0f / std::sqrt(float(h.head_dim));
  const auto out = attention(c, window, scale, softcap);
  size_t at = 0;
  for (int row = 0; row < int(c.positions.size()); ++row)
    for (int kv = 0; kv < h.kv_heads; ++kv) {
      const auto key = turned(c, row, c.k_offset + kv * h.head_dim, c.k_norm);
      const float* value = c.qkv.data() + size_t(row) * size_t(c.qkv_stride) + c.v_offset + kv * h.head_dim;
      for (int d = 0; d < h.head_dim; ++d) {
        const size_t place = c.place(row, kv, c.positions[size_t(row)]) + size_t(d);
        expect(std::fabs(emulation::widen_half(c.keys[place]) - key[size_t(d)]) <= 6e-4 * (std::fabs(key[size_t(d)]) + 1e-3), "a key in the cache", "cuda", h.head_dim, row, d);
        expect(c.values[place] == cuda::Half::round(value[d]), "a value in the cache", "cuda", h.head_dim, row, d);
      }
      for (int query = 0; query < h.group; ++query)
        for (const double want : exact(c, row, kv, query, window, scale, softcap)) {
          expect(std::fabs(out[at] - want) <= 2e-5, "attention", "cuda", h.head_dim, c.positions[size_t(row)], window);
          ++at;
        }
    }
}

// What is left for the product is what would be prepared of the same values.
void check_feed(Case c, Format form) {
  Product next{};
  next.rows = int(c.positions.size()), next.cols = c.heads.kv_heads * c.heads.group * c.heads.head_dim;
  next.superblocks = next.cols / (form == Format::planes8 ? kSuperblock : kGroup);
  std::vector<uint8_t> feed(form == Format::planes8 ? cuda::QuantizedForm::bytes(next) : cuda::RoundedForm<cuda::Bf16>::bytes(next), 0xff);
  const auto out = attention(c, 0, 0.125f, 0.0f, form, &feed);
  expect(feed == prepare(next, form, out), "attention, prepared", "cuda", c.heads.head_dim, next.rows, int(form));
}

}  // namespace

void test_cuda_attention() {
  for (const Heads h : {Heads{2, 4, 64}, Heads{2, 7, 64}, Heads{1, 9, 128}, Heads{2, 3, 96}, Heads{1, 8, 256}})
    for (const Format form : {Format::planes8, Format::bf16, Format::half}) {
      check_feed(Case(h, {70}, {0}), form);
      check_feed(Case(h, {31, 32, 5, 70, 1, 2, 3, 33}, {0, 1, 2, 3, 4, 5, 6, 7}), form);
    }

  // Heads of the common shapes, lanes without values, more queries than a block takes.
  for (const Heads h : {Heads{2, 4, 64}, Heads{1, 1, 64}, Heads{2, 7, 64}, Heads{1, 4, 128}, Heads{1, 9, 128}, Heads{1, 3, 80}, Heads{1, 2, 256}, Heads{1, 8, 256}, Heads{2, 2, 24}}) {
    check(Case(h, {0}, {0}), 0, 0.0f);
    check(Case(h, {31, 32, 5, 70}, {0, 1, 2, 3}), 0, 0.0f);
    check(Case(h, {100, 101, 102, 103}, {0, 0, 0, 0}), 0, 0.0f);  // a draft: rows see each other's new keys
    check(Case(h, {100, 40, 63}, {0, 1, 2}), 33, 5.0f);
    check(Case(h, {62, 63, 64, 9, 65, 8}, {0, 0, 0, 1, 2, 3}, {h.head_dim / 16 * 8, true}), 0, 0.0f);
    check(Case(h, {7, 8}, {0, 0}, {8, false}), 0, 0.0f);
  }
  check(Case({1, 4, 64}, {1300, 600}, {0, 1}), 0, 0.0f);  // splits that take several cache blocks
  check(Case({1, 4, 64}, {1300, 600}, {0, 1}), 700, 0.0f);

  // A row's bits do not depend on the rows beside it.
  Case two({2, 4, 64}, {530, 77}, {0, 1}), alone({2, 4, 64}, {530}, {0});
  alone.keys = two.keys, alone.values = two.values, alone.blocks = two.blocks;
  std::copy(two.tables.begin(), two.tables.begin() + two.table_stride, alone.tables.begin());
  std::copy(two.qkv.begin(), two.qkv.begin() + two.qkv_stride, alone.qkv.begin());
  const auto both = attention(two, 0, 0.125f, 0.0f), one = attention(alone, 0, 0.125f, 0.0f);
  expect(std::memcmp(both.data(), one.data(), one.size() * sizeof(float)) == 0, "attention alone", "cuda", 64, 2, 0);
}

}  // namespace onesec::test
