// From logits to a token: statistics, penalties, filters, the draw. One state a sequence.
// Knows nothing of threads or models. The same seed and logits give the same token, alone or in a batch.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kernels.h"

namespace onesec {

struct SamplingParams {
  float temperature = 0.0f;
  int top_k = 0;
  float top_p = 1.0f, min_p = 0.0f;
  float repetition_penalty = 1.0f, presence_penalty = 0.0f, frequency_penalty = 0.0f;
  std::vector<std::pair<int32_t, float>> logit_bias;
  uint64_t seed = 0;
  int min_tokens = 0;
  std::vector<int32_t> end_ids;  // banned until min_tokens are drawn
};

// What one row of logits says before anything is changed.
struct Distribution {
  int32_t argmax = 0;
  float max = 0.0f;
  float log_sum_exp = 0.0f;
  float entropy = 0.0f;  // nats
  float margin = 0.0f;   // p1 - p2
  bool finite = true;    // all logits that were looked at
};

// Logits that are NaN or infinite, from which no token can be drawn, or hidden states.
struct NotFinite : std::runtime_error {
  explicit NotFinite(const char* what = "The model's logits are not finite.") : std::runtime_error(what) {}
};

Distribution merge_stats(const LogitStats* stats, int count);

class Sampler {
 public:
  explicit Sampler(SamplingParams params) : params_(std::move(params)) {}
  void observe(const int32_t* tokens, int count);  // prompt tokens: repetition penalty only
  void force(const int32_t* tokens, int count);    // answer tokens that nobody drew: the random stream stays where it is
  // The next token alone is one of those whose bit is set: bit t % 32 of word t / 32. Tokens beyond the words are not.
  void allow(std::vector<uint32_t> words) { allowed_ = std::move(words); }
  // Whether the next token is the likeliest one, whatever the other logits are.
  bool wants_argmax() const { return params_.temperature <= 0.0f && !changes_logits(); }
  // Whether a token can be drawn from n logits. Throws NotFinite, or std::invalid_argument where the mask allows none.
  void check(int n, bool finite) const;
  // logits [n] may be changed. Counts the token it returns. Throws as `check`, and then has changed nothing.
  int32_t sample(float* logits, int n, const Distribution& d);
  // The drawn token's logit before penalties and bias.
  float last_logit() const { return last_logit_; }

 private:
  struct Count { int prompt = 0, answer = 0; };
  bool changes_logits() const;
  bool penalizes() const;
  bool allows(int32_t id) const { return size_t(id) / 32 < allowed_.size() && (allowed_[size_t(id) / 32] >> (id % 32) & 1u); }
  int32_t draw(const float* logits, int n, float max);
  void ban_others(float* logits, int n);

  SamplingParams params_;
  std::unordered_map<int32_t, Count> counts_;
  uint64_t drawn_ = 0;     // by this sampler: the index of the next random number
  uint64_t answered_ = 0;  // those and the forced ones
  float last_logit_ = 0.0f;
  std::vector<uint32_t> allowed_;  // of the next token; empty: all
  std::vector<std::pair<int32_t, float>> originals_;  // of the logits that were changed
  std::vector<std::pair<float, int32_t>> candidates_;
};

// The n most probable ids with their log-probabilities, descending; ties by id.
std::vector<std::pair<int32_t, float>> top_logprobs(const float* logits, int size, int n, float log_sum_exp);

}  // namespace onesec
