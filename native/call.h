// Call: up to k steps of a batch, each with its sampling, told step by step. Whoever waits for it may take what is
// done while the rest goes on. Knows nothing of Python, text or deadlines' meaning.
#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "driver.h"
#include "sampler.h"
#include "transformer.h"

namespace onesec {

struct RowIn {
  std::vector<int32_t> tokens;
  std::vector<int32_t> table;
  int start = 0;
  std::shared_ptr<Sampler> sampler;  // may be null
  std::vector<int32_t> stop_ids;
  int top = 0;
  bool prompt_logprobs = false;
  int32_t next_token = -1;
  bool statistics = true;
  bool drafted = false;  // tokens after the first are a draft
  bool pooled = false;   // tell the sum of the tokens' hidden states; such a row draws nothing
};

struct RowOut {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs, entropies, margins, prompt_logprobs;
  std::vector<std::vector<std::pair<int32_t, float>>> top;
  std::vector<float> hidden;  // of a pooled row
};

struct Done {
  std::vector<RowOut> rows;
  std::vector<double> step_ms;
  double cpu_ms = 0.0;
  size_t bytes = 0;
  bool over = false;  // no step goes on
};

class Call final : public Job {
 public:
  // Stops early after a stop id and before a step that would start after `until_ns`. `exact`: prompt chunks run in the
  // decode arithmetic too, as every step after the first does.
  Call(Transformer& transformer, std::vector<RowIn> rows, Widths widths, int max_steps, int64_t until_ns, bool exact);

  void run() noexcept override;
  // What was done since the last take, or where that is nothing, throws what a step threw. A step that throws has drawn
  // nothing: steps before it count, and whoever goes on behind them meets its error again. Any thread, at any time.
  Done take();
  // No further step begins behind the one in hand, or behind the first.
  void abandon() { abandoned_ = true; }

 private:
  void steps();
  void check() const;                      // throws where a row cannot draw
  bool sample(std::vector<RowOut>& outs);  // true: a stop id was drawn
  bool sample_row(RowIn& row, RowOut& out, int& logit);

  Transformer& t_;
  std::vector<RowIn> rows_;
  const Widths widths_;
  const int max_steps_;
  const int64_t until_ns_;
  const bool exact_;
  std::atomic<bool> abandoned_{false};

  std::mutex mutex_;  // of what follows
  Done done_;
  std::exception_ptr error_;
};

}  // namespace onesec
