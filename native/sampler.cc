#include "sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace onesec {
namespace {

// SplitMix64 over (seed, index): uniform in [0, 1) with 53 bits, independent of any other sequence.
double uniform(uint64_t seed, uint64_t index) {
  uint64_t z = seed * 0x9e3779b97f4a7c15ull + (index + 1) * 0xd1342543de82ef95ull;
  for (int i = 0; i < 2; ++i) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
  }
  return double(z >> 11) * 0x1.0p-53;
}

// The nearest finite value: a difference of two of those is not NaN.
float bounded(float x) {
  constexpr float most = std::numeric_limits<float>::max();
  return std::clamp(x, -most, most);
}

bool better(const std::pair<float, int32_t>& a, const std::pair<float, int32_t>& b) {
  return a.first > b.first || (a.first == b.first && a.second < b.second);
}

}  // namespace

Distribution merge_stats(const LogitStats* stats, int count) {
  Distribution d;
  float second = -std::numeric_limits<float>::infinity();
  d.max = second;
  for (int i = 0; i < count; ++i) {
    d.finite &= stats[i].finite;
    if (stats[i].max > d.max) {
      second = std::max(d.max, stats[i].second);
      d.max = stats[i].max;
      d.argmax = stats[i].argmax;
    } else {
      second = std::max(second, stats[i].max);
    }
  }
  double sum = 0.0, weighted = 0.0;
  for (int i = 0; i < count; ++i) {
    const double shift = double(stats[i].max) - d.max, factor = std::exp(shift);
    sum += factor * stats[i].sum_exp;
    weighted += factor * (stats[i].sum_xexp + shift * stats[i].sum_exp);
  }
  d.log_sum_exp = float(d.max + std::log(sum));
  d.entropy = float(std::max(0.0, std::log(sum) - weighted / sum));
  d.margin = float((1.0 - std::exp(double(second) - d.max)) / sum);
  return d;
}

void Sampler::observe(const int32_t* tokens, int count) {
  if (params_.repetition_penalty == 1.0f) return;
  for (int i = 0; i < count; ++i) ++counts_[tokens[i]].prompt;
}

void Sampler::force(const int32_t* tokens, int count) {
  answered_ += uint64_t(count);
  if (penalizes())
    for (int i = 0; i < count; ++i) ++counts_[tokens[i]].answer;
}

bool Sampler::penalizes() const {
  return params_.repetition_penalty != 1.0f || params_.presence_penalty != 0.0f || params_.frequency_penalty != 0.0f;
}

bool Sampler::changes_logits() const {
  return penalizes() || !params_.logit_bias.empty() || int64_t(answered_) < params_.min_tokens || !allowed_.empty();
}

void Sampler::check(int n, bool finite) const {
  if (!finite) throw NotFinite();
  if (allowed_.empty()) return;
  for (int32_t id = 0; id < n; ++id)
    if (allows(id)) return;
  throw std::invalid_argument("no token is allowed");
}

void Sampler::ban_others(float* logits, int n) {
  for (int id = 0; id < n; ++id)
    if (!allows(id)) logits[id] = -std::numeric_limits<float>::infinity();
  allowed_.clear();
}

int32_t Sampler::sample(float* logits, int n, const Distribution& d) {
  check(n, d.finite);
  int32_t token = d.argmax;
  float max = d.max;
  originals_.clear();
  if (changes_logits()) {
    const auto keep = [&](int32_t id) { if (id >= 0 && id < n) originals_.emplace_back(id, logits[id]); };
    for (const auto& [id, bias] : params_.logit_bias) keep(id);
    for (const auto& [id, count] : counts_) keep(id);
    for (const int32_t id : params_.end_ids) keep(id);
    for (const auto& [id, bias] : params_.logit_bias)
      if (id >= 0 && id < n) logits[id] = bounded(logits[id] + bias);
    for (const auto& [id, count] : counts_) {
      if (id < 0 || id >= n) continue;
      float& x = logits[id];
      if (params_.repetition_penalty != 1.0f)
        x = bounded(x > 0.0f ? x / params_.repetition_penalty : x * params_.repetition_penalty);
      if (count.answer > 0) x = bounded(x - (params_.presence_penalty + params_.frequency_penalty * float(count.answer)));
    }
    if (int64_t(answered_) < params_.min_tokens)
      for (const int32_t id : params_.end_ids)
        if (id >= 0 && id < n) logits[id] = -1e30f;
    if (!allowed_.empty()) ban_others(logits, n);
    token = int32_t(std::max_element(logits, logits + n) - logits);
    max = logits[token];
  }
  if (params_.temperature > 0.0f) token = draw(logits, n, max);
  ++drawn_, ++answered_;
  last_logit_ = logits[token];
  for (const auto& [id, value] : originals_)
    if (id == token) last_logit_ = value;
  if (penalizes()) ++counts_[token].answer;
  return token;
}

int32_t Sampler::draw(const float* logits, int n, float max) {
  const float inverse = bounded(1.0f / params_.temperature);  // of a temperature next to nothing it would be infinite
  const double u = uniform(params_.seed, drawn_);
  const auto weight = [&](float x) { return std::exp((x - max) * inverse); };
  if (params_.top_k == 0 && params_.top_p >= 1.0f && params_.min_p <= 0.0f) {  // no filter: two passes in id order
    double total = 0.0;
    for (int i = 0; i < n; ++i) total += weight(logits[i]);
    double left = u * total;
    for (int i = 0; i < n; ++i)
      if ((left -= weight(logits[i])) < 0.0) return i;
    return int32_t(std::max_element(logits, logits + n) - logits);
  }
  // Candidates in descending order, only as deep as the filters can reach; top_p is a share of `base`.
  candidates_.clear();
  double base = 0.0;
  if (params_.top_k > 0 && params_.top_k < n) {
    for (int i = 0; i < n; ++i) candidates_.emplace_back(logits[i], i);
    std::nth_element(candidates_.begin(), candidates_.begin() + (params_.top_k - 1), candidates_.end(), better);
    candidates_.resize(size_t(params_.top_k));
    for (const auto& c : candidates_) base += weight(c.first);
  } else {
    for (int i = 0; i < n; ++i) base += weight(logits[i]);
    for (float depth = 4.0f;; depth *= 2.0f) {
      const float floor = max - depth * params_.temperature;
      candidates_.clear();
      double mass = 0.0;
      for (int i = 0; i < n; ++i)
        if (logits[i] >= floor) candidates_.emplace_back(logits[i], i), mass += weight(logits[i]);
      const bool min_p_reached = params_.min_p > 0.0f && std::exp(-depth) <= params_.min_p;
      if (mass >= params_.top_p * base || min_p_reached || candidates_.size() == size_t(n)) break;
    }
  }
  std::sort(candidates_.begin(), candidates_.end(), better);
  if (params_.top_p < 1.0f) {  // the shortest head whose mass reaches its share
    double mass = 0.0;
    size_t keep = 0;
    while (keep < candidates_.size() && mass < params_.top_p * base) mass += weight(candidates_[keep++].first);
    candidates_.resize(std::max<size_t>(1, keep));
  }
  if (params_.min_p > 0.0f) {
    size_t keep = 0;
    while (keep < candidates_.size() && weight(candidates_[keep].first) >= params_.min_p) ++keep;
    candidates_.resize(std::max<size_t>(1, keep));
  }
  double total = 0.0;
  for (const auto& c : candidates_) total += weight(c.first);
  double left = u * total;
  for (const auto& c : candidates_)
    if ((left -= weight(c.first)) < 0.0) return c.second;
  return candidates_.front().second;
}

std::vector<std::pair<int32_t, float>> top_logprobs(const float* logits, int size, int n, float log_sum_exp) {
  std::vector<std::pair<float, int32_t>> all;
  all.reserve(size_t(size));
  for (int i = 0; i < size; ++i) all.emplace_back(logits[i], i);
  n = std::min(n, size);
  std::partial_sort(all.begin(), all.begin() + n, all.end(), better);
  std::vector<std::pair<int32_t, float>> out;
  for (int i = 0; i < n; ++i) out.emplace_back(all[size_t(i)].second, all[size_t(i)].first - log_sum_exp);
  return out;
}

}  // namespace onesec
