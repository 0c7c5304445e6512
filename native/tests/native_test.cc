// Kernels against the scalar twin over odd sizes, and the whole forward under many threads. Run under ASan, UBSan
// and TSan. Arguments name the subjects to run; none, all; `brief` keeps prompts short, for an emulated processor.
// Exits with 1 where a check failed.
#include "support.h"

#include <sched.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <string>

using namespace onesec;
using namespace onesec::test;

namespace {

void test_products() {
  const Kernels& twin = **available_kernels();
  for (const Kernels* const* k = available_kernels(); *k; ++k)
    for (const int cols : {32, 64, 96, 160, 896, 2200})
      for (const int rows : {16, 48, 70})
        for (const int m : {1, 2, 3, 5, 7, 8, 9, 17, 66}) {
          const auto w = random_floats(size_t(rows) * size_t(cols), uint32_t(rows + cols), 0.1f);
          const auto x = random_floats(size_t(m) * size_t(cols), uint32_t(m));
          const Planes p(w, rows, cols);
          const Quantized a(twin, x, m, cols), b(**k, x, m, cols);
          expect(a.q == b.q && a.scale == b.scale && a.offset == b.offset && a.residual == b.residual, "quantize", (*k)->name, cols, m);
          const auto bias = random_floats(size_t(p.view.rows), 7);
          for (const int width : {4, 8})
            for (const bool add : {false, true}) {
              const int ld = p.view.rows + 3;  // misaligned rows
              std::vector<float> y0(size_t(m) * size_t(ld), 1.0f), y1 = y0;
              const auto run = [&](const Kernels& table, const Quantized& in, std::vector<float>& y) {
                (width == 4 ? table.matmul4 : table.matmul8)(p.view, 0, p.view.rows / kTileRows, in.view, m, y.data(), ld, bias.data(), add);
              };
              run(twin, a, y0), run(**k, b, y1);
              expect(std::memcmp(y0.data(), y1.data(), y0.size() * sizeof(float)) == 0, "plane product", (*k)->name, cols, m, width);
            }
          std::vector<float> y0(size_t(m) * size_t(rows)), y1 = y0;
          twin.matmul16(w.data(), DType::f32, rows, cols, x.data(), cols, m, y0.data(), rows, bias.data(), false);
          (*k)->matmul16(w.data(), DType::f32, rows, cols, x.data(), cols, m, y1.data(), rows, bias.data(), false);
          expect(largest_difference(y0, y1) < 1e-4f, "16-bit product", (*k)->name, cols, m, rows);
        }
}

// The two widths' products of a row never lie further apart than its bound says, also where x follows the residual.
void test_residual_bounds() {
  const Kernels& twin = **available_kernels();
  for (const int cols : {32, 96, 896}) {
    const int rows = 48;
    const auto w = random_floats(size_t(rows) * size_t(cols), uint32_t(cols), 0.1f);
    const Planes p(w, rows, cols);
    std::vector<float> bounds(static_cast<size_t>(rows)), four(static_cast<size_t>(cols)), eight = four;
    for (int tile = 0; tile < rows / kTileRows; ++tile) residual_bounds(p.view, tile, bounds.data() + tile * kTileRows);
    double tightest = 0.0;
    for (int target = -8; target < rows; ++target) {
      auto x = random_floats(size_t(cols), uint32_t(100 + target));
      if (target >= 0) {
        unpack_row(p.view, target, 4, cols, four.data()), unpack_row(p.view, target, 8, cols, eight.data());
        for (int k = 0; k < cols; ++k) x[size_t(k)] = eight[size_t(k)] - four[size_t(k)];
      }
      const Quantized q(twin, x, 1, cols);
      double squares = 0.0;
      for (int k = 0; k < cols; ++k) squares += std::pow(double(q.scale[size_t(k / kGroup)]) * q.q[size_t(k)], 2.0);
      std::vector<float> y4(static_cast<size_t>(rows)), y8 = y4;
      twin.matmul4(p.view, 0, rows / kTileRows, q.view, 1, y4.data(), rows, nullptr, false);
      twin.matmul8(p.view, 0, rows / kTileRows, q.view, 1, y8.data(), rows, nullptr, false);
      for (int r = 0; r < rows; ++r) {
        const double apart = std::fabs(double(y8[size_t(r)]) - y4[size_t(r)]), bound = bounds[size_t(r)] * std::sqrt(squares);
        expect(apart <= bound + 0x1p-24 * (std::fabs(y4[size_t(r)]) + std::fabs(y8[size_t(r)])), "residual bound", "", cols, r, target);
        tightest = std::max(tightest, apart / bound);
      }
    }
    expect(tightest > 0.98, "the bound is reached where x follows the residual", "", cols, int(100 * tightest));
  }
}

void test_elementwise() {
  const Kernels& twin = **available_kernels();
  for (const Kernels* const* k = available_kernels(); *k; ++k)
    for (const int n : {1, 15, 16, 17, 31, 33, 64, 100, 1000})
      for (const int shift : {0, 1, 3}) {
        const auto in = random_floats(size_t(n + shift), uint32_t(n)), w = random_floats(size_t(n), 5), up = random_floats(size_t(n), 6);
        const float* x = in.data() + shift;
        std::vector<float> a(static_cast<size_t>(n)), b(static_cast<size_t>(n));
        twin.rms_norm(x, w.data(), 1e-6f, n, a.data()), (*k)->rms_norm(x, w.data(), 1e-6f, n, b.data());
        expect(largest_difference(a, b) < 1e-5f, "rms_norm", (*k)->name, n, shift);
        twin.layer_norm(x, w.data(), up.data(), 1e-5f, n, a.data()), (*k)->layer_norm(x, w.data(), up.data(), 1e-5f, n, b.data());
        expect(largest_difference(a, b) < 1e-4f, "layer_norm", (*k)->name, n, shift);
        for (const Activation kind : {Activation::silu, Activation::gelu_tanh, Activation::gelu, Activation::relu}) {
          (*k)->activate(kind, x, up.data(), n, b.data());
          for (int i = 0; i < n; ++i) {
            const double v = x[i];
            const double inner = 0.7978845608028654 * (v + 0.044715 * v * v * v);
            const double y = kind == Activation::silu ? v / (1 + std::exp(-v)) : kind == Activation::relu ? std::max(v, 0.0)
                           : kind == Activation::gelu ? 0.5 * v * (1 + std::erf(v / std::sqrt(2.0))) : 0.5 * v * (1 + std::tanh(inner));
            a[size_t(i)] = float(y * up[size_t(i)]);
          }
          expect(largest_difference(a, b) < 3e-6f, "activate", (*k)->name, n, int(kind));
        }
        LogitStats s0, s1;
        twin.logit_stats(x, n, 3, &s0), (*k)->logit_stats(x, n, 3, &s1);
        expect(s0.max == s1.max && s0.second == s1.second && s0.argmax == s1.argmax && std::fabs(s0.sum_exp - s1.sum_exp) < 1e-3f * s0.sum_exp &&
                   std::fabs(s0.sum_xexp - s1.sum_xexp) < 1e-3f * (1 + std::fabs(s0.sum_xexp)), "logit_stats", (*k)->name, n, shift);
        expect(s0.finite && s1.finite, "finite logits", (*k)->name, n, shift);
        for (const float odd : {std::nanf(""), INFINITY, -INFINITY})
          for (const int at : {0, n / 2, n - 1}) {
            auto bad = in;
            bad[size_t(at + shift)] = odd;
            (*k)->logit_stats(bad.data() + shift, n, 3, &s1);
            expect(!s1.finite, "logits that are not finite", (*k)->name, n, at);
          }
      }
}

void test_forward() {
  std::vector<int32_t> tokens;
  for (int i = 0; i < 530; ++i) tokens.push_back((i * 37 + i / 3) % 211);  // past one split of positions
  for (const Kernels* const* k = available_kernels(); *k; ++k) {
    const bool slow = brief || k == available_kernels();
    std::vector<int32_t> prompt(tokens.begin(), tokens.begin() + (slow ? 40 : 530));
    for (const DType cache : {DType::f32, DType::f16, DType::i8}) {
      Model one((1), (*k)->name, cache), four(4, (*k)->name, cache);
      for (const Width w : {Width{4}, Width{8}, Width{4, 16}, Width{8, 16}}) {
        const int width = w.weights * 100 + w.activations;
        const auto base = one.run(prompt, 530, 0, w);
        bool finite = true;
        for (const float x : base) finite &= std::isfinite(x);
        expect(finite, "finite logits", (*k)->name, width, int(cache));
        expect(one.run(prompt, 13, 0, w) == base, "chunks do not change bits", (*k)->name, width, int(cache));
        expect(four.run(prompt, 64, 0, w) == base, "threads do not change bits", (*k)->name, width, int(cache));
        expect(four.run(prompt, 29, 7, w) == base, "neighbours do not change bits", (*k)->name, width, int(cache));
        if (!slow) expect(four.run(prompt, 1, 0, w) == base, "one token at a time does not change bits", (*k)->name, width, int(cache));
      }
      expect(one.run(prompt, 17, 0, {8}, 1) == four.run(prompt, 1, 3, {8}, 1), "a skipped attention is deterministic", (*k)->name, int(cache));
      expect(one.run(prompt, 17, 0, {8}, 1) != one.run(prompt, 17, 0, {8}), "a skipped attention skips", (*k)->name, int(cache));
    }
  }
}

// Activations of 16 bits are two rows of 8: what the first leaves is exact but for a rounding, and the products come a
// hundred times nearer to those of floats.
void test_fine_activations() {
  const Kernels& twin = **available_kernels();
  std::vector<int32_t> tokens;
  for (int i = 0; i < 40; ++i) tokens.push_back((i * 37 + i / 3) % 211);
  for (const Kernels* const* k = available_kernels(); *k; ++k) {
    for (const int cols : {1, 15, 16, 17, 31, 32, 33, 47, 48, 64, 100, 257}) {
      const auto x = random_floats(size_t(cols), uint32_t(cols));
      const Quantized rounded(twin, x, 1, cols);
      std::vector<float> left(static_cast<size_t>(cols) + 1, 7.0f);
      (*k)->remainder(x.data(), cols, left.data());
      bool same = left.back() == 7.0f;
      for (int i = 0; i < cols; ++i) {
        const double exact = x[size_t(i)] - double(rounded.scale[size_t(i / kGroup)]) * rounded.q[size_t(i)];
        same &= std::fabs(left[size_t(i)] - exact) <= 0x1p-23 * std::fabs(x[size_t(i)]);
      }
      expect(same, "remainder", (*k)->name, cols);
    }
    Model model(2, (*k)->name);
    for (const int bits : {4, 8}) {
      const auto truth = with_floats(**k, bits, tokens);
      const double coarse = distance(model.run(tokens, 40, 0, {uint8_t(bits)}), truth);
      const double fine = distance(model.run(tokens, 40, 0, {uint8_t(bits), 16}), truth);
      expect(fine < coarse / (bits == 4 ? 50 : 10), "fine activations", (*k)->name, bits, int(1e6 * fine), int(1e6 * coarse));
    }
  }
}

void test_coarse_head() {
  for (const Kernels* const* k = available_kernels(); *k; ++k) {
    Model one(1, (*k)->name), four(4, (*k)->name);
    for (const Width width : {Width{8}, Width{8, 16}})
      for (const int32_t first : {0, 17, 99, 210}) {
        const auto full = one.greedy(first, 60, false, width);
        expect(one.greedy(first, 60, true, width) == full, "the coarse head finds the full head's token", (*k)->name, first, width.activations);
        expect(four.greedy(first, 60, true, width) == full, "the coarse head under threads", (*k)->name, first, width.activations);
      }
  }
}

void test_pool() {
  ThreadPool pool(4);
  for (int round = 0; round < 600; ++round) {
    if (round % 3 == 0) pool.use(1 + (round * 7 + round / 9) % 4);  // lowered and raised, also between two runs
    if (round % 50 == 0) pool.use(1), pool.use(4), pool.use(2);
    std::vector<int> seen(97, 0);
    std::atomic<int> second{0}, third{0};
    std::atomic<bool> runs_in_bounds{true};
    std::atomic<int> taking_part{0};
    pool.run([&](int thread) {
      ++taking_part;
      pool.claim(thread, 97, [&](int i) { ++seen[size_t(i)]; });
      pool.barrier(thread);
      pool.claim(thread, 5, [&](int i) { second += i; });
      pool.barrier(thread);
      pool.claim_runs(thread, 211, 3, 40, [&](int begin, int end) {
        if (begin >= end || end - begin > 40) runs_in_bounds = false;
        for (int i = begin; i < end; ++i) third += i;
      });
    });
    bool once = second == 10 && third == 211 * 210 / 2 && runs_in_bounds;
    for (const int n : seen) once &= n == 1;
    expect(once, "every chunk once", "", round);
    expect(taking_part == pool.size() && pool.most() == 4, "as many threads as may", "", round, taking_part);
  }
}

bool falls_asleep(pid_t thread) {
  const std::string path = "/proc/self/task/" + std::to_string(thread) + "/stat";
  for (int look = 0; look < 200000; ++look) {
    std::string stat;
    std::getline(std::ifstream(path), stat);
    if (const auto name = stat.rfind(')'); name != std::string::npos && stat.compare(name, 4, ") S ") == 0) return true;
    sched_yield();
  }
  return false;
}

// A worker that is woken on its caller's CPU goes to another one, and is bound to none afterwards.
void test_places() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
  ThreadPool pool(2);
  std::atomic<int> caller{0};
  pid_t worker = 0;
  int apart = 0;
  for (int round = 0; round < 30; ++round) {
    pool.run([&](int thread) {
      if (thread == 0) caller = sched_getcpu();
      pool.barrier(thread);
      if (thread == 0) return;
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(caller.load(), &one);
      sched_setaffinity(0, sizeof one, &one), sched_setaffinity(0, sizeof allowed, &allowed);
      worker = gettid();
    });
    if (!falls_asleep(worker)) continue;
    int at[2] = {-1, -1};
    pool.run([&](int thread) { at[thread] = sched_getcpu(); });
    apart += at[0] != at[1];
  }
  expect(apart >= 3, "a worker is not where its caller is", "", apart);
  cpu_set_t after;
  expect(sched_getaffinity(worker, sizeof after, &after) == 0 && CPU_EQUAL(&after, &allowed), "a worker may go anywhere", "");
}

void test_sampler() {
  const auto logits = random_floats(1000, 3, 3.0f);
  LogitStats stats;
  (*available_kernels())->logit_stats(logits.data(), 1000, 0, &stats);
  const Distribution d = merge_stats(&stats, 1);
  double sum = 0.0;
  for (const float x : logits) sum += std::exp(double(x));
  expect(std::fabs(d.log_sum_exp - std::log(sum)) < 1e-4, "log_sum_exp", "");
  // Frequencies follow the softmax: chi-square over the ten likeliest.
  SamplingParams p;
  p.temperature = 1.0f, p.seed = 11;
  Sampler s(p);
  std::vector<int> counts(1000, 0);
  constexpr int draws = 20000;
  for (int i = 0; i < draws; ++i) {
    auto copy = logits;
    ++counts[size_t(s.sample(copy.data(), 1000, d))];
  }
  double chi = 0.0;
  for (const auto& [id, logprob] : top_logprobs(logits.data(), 1000, 10, d.log_sum_exp)) {
    const double expected = draws * std::exp(double(logprob));
    chi += (counts[size_t(id)] - expected) * (counts[size_t(id)] - expected) / expected;
  }
  expect(chi < 30.0, "draws follow the distribution (chi-square, 10 cells)", "", int(chi));
  p.top_k = 3;
  Sampler narrow(p);
  const auto best = top_logprobs(logits.data(), 1000, 3, d.log_sum_exp);
  for (int i = 0; i < 200; ++i) {
    auto copy = logits;
    const int32_t token = narrow.sample(copy.data(), 1000, d);
    expect(token == best[0].first || token == best[1].first || token == best[2].first, "top_k", "", token);
  }
  // A top_k that keeps everything changes nothing: top_p still cuts once, at its share of the whole.
  p.top_p = 0.6f;
  const auto draw = [&](int top_k) {
    p.top_k = top_k;
    Sampler sampler(p);
    std::vector<int32_t> out;
    for (int i = 0; i < 2000; ++i) {
      auto copy = logits;
      out.push_back(sampler.sample(copy.data(), 1000, d));
    }
    return out;
  };
  const auto free = draw(0);
  for (const int top_k : {1000, 1001, 1 << 30}) expect(draw(top_k) == free, "top_k of the whole vocabulary with top_p", "", top_k);
  size_t nucleus = 0;
  const auto ranked = top_logprobs(logits.data(), 1000, 1000, d.log_sum_exp);
  for (double mass = 0.0; mass < p.top_p; ++nucleus) mass += std::exp(double(ranked[nucleus].second));
  size_t deepest = 0;
  for (const int32_t token : free)
    for (size_t i = deepest; i < ranked.size(); ++i)
      if (ranked[i].first == token) deepest = i;
  expect(deepest == nucleus - 1, "top_p reaches its whole nucleus and no further", "", int(deepest), int(nucleus));
}

// Whatever the filter: logits that are not finite are refused, and the state is as it was; those that are so large that
// penalties or a tiny temperature would make them infinite are drawn from.
void test_odd_logits() {
  for (int filter = 0; filter < 4; ++filter) {
    SamplingParams p;
    p.temperature = 0.8f, p.seed = 5, p.presence_penalty = 1.0f;
    if (filter == 1) p.top_k = 4;
    if (filter == 2) p.top_p = 0.9f;
    if (filter == 3) p.min_p = 0.05f;
    const auto draw = [](Sampler& sampler, std::vector<float> logits) {
      LogitStats stats;
      (*available_kernels())->logit_stats(logits.data(), int(logits.size()), 0, &stats);
      return sampler.sample(logits.data(), int(logits.size()), merge_stats(&stats, 1));
    };
    const auto logits = random_floats(100, 9, 2.0f);
    Sampler plain(p), disturbed(p);
    for (int i = 0; i < 20; ++i) {
      for (const float odd : {std::nanf(""), INFINITY, -INFINITY}) {
        auto bad = logits;
        bad[size_t(5 * i)] = odd;
        bool refused = false;
        try {
          draw(disturbed, bad);
        } catch (const NotFinite&) {
          refused = true;
        }
        expect(refused, "logits that are not finite are refused", "", filter, i);
      }
      expect(draw(disturbed, logits) == draw(plain, logits), "a refusal changes nothing", "", filter, i);
    }
    auto large = logits;
    for (float& x : large) x *= 1e37f;
    p.repetition_penalty = 0.01f;
    Sampler penal(p);
    std::vector<int32_t> all(100);
    for (int i = 0; i < 100; ++i) all[size_t(i)] = i;
    penal.observe(all.data(), 100);
    const int32_t token = draw(penal, large);
    expect(large[size_t(token)] > 0.0f, "penalties that pass the largest float", "", filter, token);
    p.temperature = 1e-40f, p.repetition_penalty = 1.0f;
    Sampler cold(p);
    expect(draw(cold, logits) == std::max_element(logits.begin(), logits.end()) - logits.begin(), "a temperature next to nothing", "", filter);
  }
}

// The head tells when what it made is not finite, from coarse to fine too.
void test_odd_heads() {
  Model m(2);
  const std::vector<int32_t> table = {0, 1};
  const Widths widths(m.t.matrix_names().size(), {8});
  for (const float odd : {1.0f, std::nanf(""), INFINITY}) {
    m.t.set_vector("final_norm", std::vector<float>(96, odd));
    m.t.finish();
    const int32_t token = 7;
    for (const bool argmax_only : {false, true}) {
      m.t.forward({{&token, 1, 0, table.data(), false, true}}, widths, {.argmax_only = argmax_only});
      expect(m.t.finite(0) == std::isfinite(odd) && m.t.distribution(0).finite == m.t.finite(0), "a head that is not finite", "", argmax_only);
    }
  }
}

// Bytes of the cache that a step reads: of each layer that attends, as far back as its window goes.
void test_cache_bytes() {
  Model m(1);
  std::vector<int32_t> tokens(100, 3), table(4);
  for (int i = 0; i < 4; ++i) table[size_t(i)] = i;
  Widths widths(m.t.matrix_names().size(), {8});
  const size_t position = m.t.block_bytes(DType::f16) / kBlockTokens / 3;  // of one layer of three
  const auto read = [&](int begin, int end) {
    m.t.forward({{tokens.data(), end - begin, begin, table.data(), false, true}}, widths);
    return m.t.cache_bytes_read();
  };
  expect(read(0, 30) == 3 * 30 * position, "all layers read all", "");
  expect(read(30, 99) == (99 + 99 + 99) * position, "a chunk whose first token sees the first position", "");
  expect(read(99, 100) == (100 + 40 + 100) * position, "a window of 40", "");
  widths[1] = widths[2] = Width{};
  expect(read(99, 100) == (40 + 100) * position, "a skipped attention reads nothing", "");
}

// A mask holds for one token, under every filter; what is drawn follows the distribution of the tokens it leaves.
void test_mask() {
  const auto logits = random_floats(1000, 5, 3.0f);
  LogitStats stats;
  (*available_kernels())->logit_stats(logits.data(), 1000, 0, &stats);
  const Distribution d = merge_stats(&stats, 1);
  const std::vector<int32_t> some = {3, 31, 32, 500, 990};
  std::vector<uint32_t> words(31, 0);  // 992 tokens: those beyond are not allowed
  for (const int32_t id : some) words[size_t(id) / 32] |= 1u << (id % 32);
  int32_t best = some[0];
  double mass = 0.0;
  for (const int32_t id : some) {
    if (logits[size_t(id)] > logits[size_t(best)]) best = id;
    mass += std::exp(double(logits[size_t(id)]));
  }
  const auto sample = [&](Sampler& sampler, bool masked) {
    auto copy = logits;
    if (masked) sampler.allow(words);
    return sampler.sample(copy.data(), 1000, d);
  };
  Sampler greedy({});
  expect(greedy.wants_argmax(), "greedy wants the argmax", "");
  greedy.allow(words);
  expect(!greedy.wants_argmax(), "a mask needs all logits", "");
  expect(sample(greedy, true) == best, "the likeliest allowed token", "");
  expect(greedy.last_logit() == logits[size_t(best)], "its logit is the unmodified one", "");
  expect(sample(greedy, false) == d.argmax, "a mask holds for one token", "");
  SamplingParams p;
  p.temperature = 1.0f, p.seed = 7;
  Sampler free(p);
  std::vector<int> counts(1000, 0);
  constexpr int draws = 20000;
  for (int i = 0; i < draws; ++i) ++counts[size_t(sample(free, true))];
  double chi = 0.0;
  int inside = 0;
  for (const int32_t id : some) {
    const double expected = draws * std::exp(double(logits[size_t(id)])) / mass;
    chi += (counts[size_t(id)] - expected) * (counts[size_t(id)] - expected) / expected;
    inside += counts[size_t(id)];
  }
  expect(inside == draws, "only allowed tokens", "", inside);
  expect(chi < 25.0, "masked draws follow the distribution (chi-square, 5 cells)", "", int(chi));
  for (int filter = 0; filter < 3; ++filter) {
    SamplingParams q = p;
    if (filter == 0) q.top_k = 40;
    if (filter == 1) q.top_p = 0.9f;
    if (filter == 2) q.min_p = 0.05f, q.logit_bias = {{4, 100.0f}}, q.presence_penalty = 1.0f;
    Sampler sampler(q);
    for (int i = 0; i < 500; ++i) {
      const int32_t token = sample(sampler, true);
      expect(std::find(some.begin(), some.end(), token) != some.end(), "only allowed tokens, filtered", "", filter, token);
    }
  }
  SamplingParams r;
  r.min_tokens = 5, r.end_ids = {3};
  Sampler ending(r);
  words.assign(31, 0), words[0] = 1u << 3;
  expect(sample(ending, true) == 3, "an end token that alone is allowed is drawn", "");
  words.assign(31, 0);
  bool thrown = false;
  try {
    sample(ending, true);
  } catch (const std::invalid_argument&) {
    thrown = true;
  }
  expect(thrown, "an empty mask is an error", "");
  words.assign(40, 0), words[39] = 1;
  try {
    thrown = false, sample(ending, true);
  } catch (const std::invalid_argument&) {
    thrown = true;
  }
  expect(thrown, "a mask of tokens beyond the vocabulary is empty", "");
}

}  // namespace

int main(int count, char** names) {
  const struct { const char* name; void (*run)(); } subjects[] = {
      {"packing", test_packing}, {"products", test_products}, {"elementwise", test_elementwise}, {"pool", test_pool}, {"places", test_places},
      {"sampler", test_sampler}, {"odd_logits", test_odd_logits}, {"odd_heads", test_odd_heads}, {"mask", test_mask},
      {"forward", test_forward}, {"cache_bytes", test_cache_bytes}, {"prompts", test_prompts}, {"bounds", test_residual_bounds},
      {"fine", test_fine_activations}, {"coarse_head", test_coarse_head}, {"calls", test_calls},
      {"not_finite", test_not_finite}, {"allocations", test_allocations}};
  std::set<std::string> wanted(names + 1, names + count);
  brief = wanted.erase("brief") > 0;
  for (const auto& subject : subjects) {
    if (!wanted.empty() && !wanted.contains(subject.name)) continue;
    const int before = checks;
    subject.run();
    std::printf("%s: %d checks\n", subject.name, checks - before);
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed\n", checks - failures, failures);
  return failures != 0;
}
