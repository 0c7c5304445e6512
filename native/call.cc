#include "call.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <iterator>

namespace onesec {
namespace {

double cpu_ms() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return double(t.tv_sec) * 1e3 + double(t.tv_nsec) * 1e-6;
}

template <class T>
void append(std::vector<T>& to, std::vector<T>& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

}  // namespace

Call::Call(Transformer& transformer, std::vector<RowIn> rows, Widths widths, int max_steps, int64_t until_ns, bool exact)
    : t_(transformer), rows_(std::move(rows)), widths_(std::move(widths)), max_steps_(max_steps), until_ns_(until_ns), exact_(exact) {
  done_.rows.resize(rows_.size());
}

void Call::run() noexcept {
  std::exception_ptr error;
  try {
    steps();
  } catch (...) {
    error = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  error_ = error;
  done_.over = true;
}

Done Call::take() {
  const std::lock_guard lock(mutex_);
  if (error_ && done_.step_ms.empty()) std::rethrow_exception(std::exchange(error_, nullptr));
  Done taken = std::move(done_);
  done_ = {};
  done_.rows.resize(rows_.size());
  done_.over = taken.over;
  return taken;
}

void Call::steps() {
  int64_t start = now_ns();
  double cpu_start = cpu_ms();
  for (int k = 0; k < max_steps_; ++k) {
    std::vector<SequenceRows> sequences;
    bool argmax_only = true;
    for (const RowIn& r : rows_) {
      sequences.push_back({r.tokens.data(), int(r.tokens.size()), r.start, r.table.data(), r.prompt_logprobs || r.drafted, r.sampler != nullptr});
      argmax_only &= !r.prompt_logprobs && (!r.sampler || (!r.statistics && r.top == 0 && r.sampler->wants_argmax()));
    }
    t_.forward(sequences, widths_, {.prompt = !exact_ && k == 0, .argmax_only = argmax_only});
    std::vector<RowOut> outs(rows_.size());
    for (size_t i = 0; i < rows_.size(); ++i) {
      if (!rows_[i].pooled) continue;
      outs[i].hidden = t_.hidden_sum(int(i));
      if (!std::ranges::all_of(outs[i].hidden, [](float x) { return std::isfinite(x); })) throw NotFinite("The model's hidden states are not finite.");
    }
    const bool stopped = sample(outs);
    const int64_t end = now_ns();
    const double cpu_end = cpu_ms();
    {
      const std::lock_guard lock(mutex_);
      for (size_t i = 0; i < outs.size(); ++i) {
        RowOut &to = done_.rows[i], &from = outs[i];
        append(to.tokens, from.tokens), append(to.logprobs, from.logprobs), append(to.entropies, from.entropies);
        append(to.margins, from.margins), append(to.prompt_logprobs, from.prompt_logprobs), append(to.top, from.top);
        append(to.hidden, from.hidden);
      }
      done_.step_ms.push_back(double(end - start) * 1e-6);
      done_.cpu_ms += cpu_end - cpu_start;
      done_.bytes += t_.weight_bytes_read() + t_.cache_bytes_read();
    }
    if (stopped || abandoned_ || end >= until_ns_) return;
    start = end, cpu_start = cpu_end;
  }
}

// Before any row draws: an error of one leaves the samplers of all as they were.
void Call::check() const {
  int logit = 0;
  for (const RowIn& r : rows_) {
    const int told = r.prompt_logprobs ? int(r.tokens.size()) - (r.sampler ? 1 : 0) : 0;
    for (int j = 0; j < told; ++j)
      if (!t_.finite(logit + j)) throw NotFinite();
    logit += told;
    if (!r.sampler) continue;
    r.sampler->check(t_.config().vocab_size, t_.finite(logit));
    logit += r.drafted ? int(r.tokens.size()) : 1;
  }
}

bool Call::sample(std::vector<RowOut>& outs) {
  check();
  bool stopped = false;
  int logit = 0;
  for (size_t i = 0; i < rows_.size(); ++i) stopped |= sample_row(rows_[i], outs[i], logit);
  return stopped;
}

bool Call::sample_row(RowIn& r, RowOut& out, int& logit) {
  const int vocab = t_.config().vocab_size;
  if (r.prompt_logprobs) {
    for (size_t j = 0; j < r.tokens.size(); ++j) {
      const int32_t target = j + 1 < r.tokens.size() ? r.tokens[j + 1] : r.next_token;
      if (target >= 0) out.prompt_logprobs.push_back(t_.logits(logit + int(j))[target] - t_.distribution(logit + int(j)).log_sum_exp);
    }
    logit += int(r.tokens.size()) - (r.sampler ? 1 : 0);  // a sampler draws from the last row's
  }
  if (!r.sampler) return false;
  // One token, or as many as are drawn alike of a draft and the one after them. Each is drawn as it would be
  // without a draft, so drafts change when tokens come and nothing else (arXiv 2211.17192 with a certain draft).
  const int draws = r.drafted ? int(r.tokens.size()) : 1;
  bool stopped = false;
  int32_t token = 0;
  int drawn = 0;
  while (drawn < draws) {
    const Distribution d = t_.distribution(logit + drawn);
    float* logits = t_.logits(logit + drawn);
    if (r.top > 0) out.top.push_back(top_logprobs(logits, vocab, r.top, d.log_sum_exp));
    token = r.sampler->sample(logits, vocab, d);
    out.tokens.push_back(token);
    if (r.statistics) {
      out.logprobs.push_back(r.sampler->last_logit() - d.log_sum_exp);
      out.entropies.push_back(d.entropy);
      out.margins.push_back(d.margin);
    }
    ++drawn;
    // Logits behind a guess that are not finite are left to a step that begins with them.
    bool over = drawn == draws || token != r.tokens[size_t(drawn)] || !t_.finite(logit + drawn);
    for (const int32_t id : r.stop_ids) over |= id == token, stopped |= id == token;
    if (over) break;
  }
  logit += draws;
  r.start += r.drafted ? drawn : int(r.tokens.size());
  r.tokens.assign(1, token);
  r.drafted = false;
  r.prompt_logprobs = false;
  return stopped;
}

}  // namespace onesec
