// The GPU's attention of single tokens, run on a CPU, against double-precision sums.
#include "cuda_support.h"

namespace onesec::test {
namespace {

using cuda::Attention;

struct Heads {
  int kv_heads, group, head_dim;
};

// A paged cache of random values and rows at given positions of sequences: rows of the same sequence share a table.
struct Case {
  Heads heads;
  std::vector<int> positions, sequences;
  int table_stride, blocks;
  std::vector<uint16_t> keys, values;
  std::vector<int32_t> tables;
  std::vector<float> qkv;
  int qkv_stride;

  Case(Heads h, std::vector<int> at, std::vector<int> whose) : heads(h), positions(std::move(at)), sequences(std::move(whose)) {
    const int longest = *std::max_element(positions.begin(), positions.end());
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

std::vector<double> exact(const Case& c, int row, int kv, int query, int window, float scale, float softcap) {
  const Heads& h = c.heads;
  const int position = c.positions[size_t(row)], first = window > 0 ? std::max(0, position + 1 - window) : 0;
  std::vector<double> scores, out(size_t(h.head_dim), 0.0);
  double top = -1e300, weight = 0.0;
  for (int at = first; at <= position; ++at) {
    double score = 0.0;
    for (int d = 0; d < h.head_dim; ++d)
      score += double(c.qkv[size_t(row) * size_t(c.qkv_stride) + size_t((kv * h.group + query) * h.head_dim + d)]) * emulation::widen_half(c.keys[c.place(row, kv, at) + size_t(d)]);
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

// What the kernel before writes: queries, and the keys and values of this step's rows.
struct Before {
  Case* c;
  std::vector<float> qkv;
  std::vector<uint16_t> keys, values;
  static void write(void* state) {
    auto* b = static_cast<Before*>(state);
    b->c->qkv = b->qkv, b->c->keys = b->keys, b->c->values = b->values;
  }
  explicit Before(Case& of) : c(&of), qkv(of.qkv), keys(of.keys), values(of.values) {
    std::fill(of.qkv.begin(), of.qkv.end(), NAN);
    for (size_t r = 0; r < of.positions.size(); ++r)
      for (int kv = 0; kv < of.heads.kv_heads; ++kv)
        for (int d = 0; d < of.heads.head_dim; ++d)
          of.keys[of.place(int(r), kv, of.positions[r]) + size_t(d)] = of.values[of.place(int(r), kv, of.positions[r]) + size_t(d)] = 0x7e00;  // NaN
  }
};

std::vector<float> attention(Case& c, int window, float scale, float softcap) {
  const Heads& h = c.heads;
  Attention a{};
  a.positions = c.positions.data(), a.tables = c.tables.data();
  a.rows = int(c.positions.size()), a.qkv_stride = c.qkv_stride, a.table_stride = c.table_stride;
  a.kv_heads = h.kv_heads, a.group = h.group, a.head_dim = h.head_dim, a.window = window, a.scale = scale, a.softcap = softcap;
  std::vector<float> parts(cuda::attention_floats(a), NAN), out(size_t(a.rows * h.kv_heads * h.group * h.head_dim), NAN);
  std::vector<int32_t> arrived(size_t(a.rows * h.kv_heads * h.group), 0);
  Before before(c);
  a.qkv = c.qkv.data(), a.parts = parts.data(), a.arrived = arrived.data(), a.out = out.data();
  a.keys = c.keys.data(), a.values = c.values.data();
  cuda::launch_attention(a, [&](void (*kernel)(Attention), int blocks, int threads, size_t shared) {
    emulate(kernel, a, blocks, threads, shared, Before::write, &before);
  });
  expect(std::all_of(arrived.begin(), arrived.end(), [](int32_t n) { return n == 0; }), "counters are zeros again", "cuda", h.head_dim, a.rows, window);
  return out;
}

void check(Case c, int window, float softcap) {
  const Heads& h = c.heads;
  const float scale = 1.0f / std::sqrt(float(h.head_dim));
  const auto out = attention(c, window, scale, softcap);
  size_t at = 0;
  for (int row = 0; row < int(c.positions.size()); ++row)
    for (int kv = 0; kv < h.kv_heads; ++kv)
      for (int query = 0; query < h.group; ++query)
        for (const double want : exact(c, row, kv, query, window, scale, softcap)) {
          expect(std::fabs(out[at] - want) <= 2e-5, "attention", "cuda", h.head_dim, c.positions[size_t(row)], window);
          ++at;
        }
}

}  // namespace

void test_cuda_attention() {
  // Heads of the common shapes, lanes without values, more queries than a block takes.
  for (const Heads h : {Heads{2, 4, 64}, Heads{1, 1, 64}, Heads{2, 7, 64}, Heads{1, 4, 128}, Heads{1, 9, 128}, Heads{1, 3, 80}, Heads{1, 2, 256}, Heads{1, 8, 256}, Heads{2, 2, 24}}) {
    check(Case(h, {0}, {0}), 0, 0.0f);
    check(Case(h, {31, 32, 5, 70}, {0, 1, 2, 3}), 0, 0.0f);
    check(Case(h, {100, 101, 102, 103}, {0, 0, 0, 0}), 0, 0.0f);  // a draft: rows see each other's new keys
    check(Case(h, {100, 40, 63}, {0, 1, 2}), 33, 5.0f);
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
