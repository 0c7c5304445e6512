// The output head: logits and their statistics, in the head's own width or from coarse to fine.
#include <algorithm>
#include <cmath>
#include <limits>

#include "transformer.h"

namespace onesec {
namespace {

constexpr int kChunkTiles = 16;  // tiles whose logits are summed up together: fixed, so bits depend on ids alone

// Covers the last rounding of both logits of a row (2^-24 each) and the roundings of the comparison itself.
constexpr float kLogitRounding = 0x1p-22f;

constexpr float kNoToken = -3.4e38f;  // as a logit; finite, so that bounds can be added to it

// Length of one row of activations as the products see it, rounded up.
float length(const QuantRows& x) {
  double squares = 0.0;
  for (int g = 0; g < x.groups(); ++g) {
    int sum = 0;
    for (int k = 0; k < kGroup; ++k) sum += int(x.q[g * kGroup + k]) * x.q[g * kGroup + k];
    squares += double(x.scale[g]) * x.scale[g] * sum;
  }
  return float(std::sqrt(squares) * (1.0 + 0x1p-20));
}

// The largest of a tile's values.
float top(const float* x) {
  float kept[kTileRows / 2];
  for (int i = 0; i < kTileRows / 2; ++i) kept[i] = x[i] > x[i + 8] ? x[i] : x[i + 8];
  for (int n = 4; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) kept[i] = kept[i] > kept[i + n] ? kept[i] : kept[i + n];
  return kept[0];
}

}  // namespace

int Transformer::head_chunks() const { return (head_->tiles() + kChunkTiles - 1) / kChunkTiles; }

// Rows of the head in tiles [begin, end), without the padding.
int Transformer::head_rows(int begin, int end) const { return std::min(end * kTileRows, config_.vocab_size) - begin * kTileRows; }

void Transformer::head(int thread, Width width, Buffers& b) {
  const int count = int(logit_rows_.size()), chunks = head_chunks();
  pool_.claim(thread, chunks, [&](int chunk) {
    const int begin = chunk * kChunkTiles, end = std::min(head_->tiles(), begin + kChunkTiles), first = begin * kTileRows;
    product(thread, *head_, width, begin, end, b, count, logits_.data() + first, ld_logits_, head_bias_, false);
    if (once_ || count >= kLettingRows) let_go(*head_, width, begin, end);
    for (int k = 0; k < count; ++k) {
      float* row = logits(k) + first;
      if (config_.final_softcap > 0.0f) kernels_.softcap(row, head_rows(begin, end), config_.final_softcap);
      kernels_.logit_stats(row, head_rows(begin, end), first, &stats_[size_t(k) * size_t(chunks) + size_t(chunk)]);
    }
  });
}

// The likeliest token of one row and a head of width 8, exactly, reading little of lo: all logits from hi, and then at
// full width the tiles that may hold the winner. With r the residual of a head row and x the activations, that row's two
// logits lie at most |r| |x| apart (Cauchy-Schwarz; bounds of |r| come from the planes, see residual_bounds). A tile
// none of whose rows can reach a logit that is known at full width does not hold the winner.
// Fine activations add the same product with what 8 bits left of x, from hi, to both.
void Transformer::coarse_head(int thread, bool fine, Buffers& b) {
  const int tiles = head_->tiles(), chunks = head_chunks();
  const auto multiply = [&](int bits, int begin, int end) {
    product(thread, *head_, {uint8_t(bits), uint8_t(fine ? 16 : 8)}, begin, end, b, 1, logits_.data() + size_t(begin) * kTileRows, ld_logits_, head_bias_, false);
  };
  const auto keep_largest = [&](LogitStats& kept, int tile) {
    const float* row = logits_.data() + tile * kTileRows;
    for (int r = 0; r < head_rows(tile, tile + 1); ++r)
      if (row[r] > kept.max) kept.max = row[r], kept.argmax = tile * kTileRows + r;
  };
  constexpr LogitStats kNone = {-std::numeric_limits<float>::infinity(), 0.0f, 0, 0.0f, 0.0f, true};

  // The length of the rest is in for the rounding of the sum alone, which the bounds' own rounding term covers many times.
  const float norm = length(b.rounded.view(head_->padded_cols())) + (fine ? length(b.rest.view(head_->padded_cols())) : 0.0f);
  pool_.claim(thread, chunks, [&](int chunk) {
    const int begin = chunk * kChunkTiles, end = std::min(tiles, begin + kChunkTiles);
    multiply(4, begin, end);
    // Rows behind the vocabulary are no tokens: their products, zeros, would lie above all logits where those are negative.
    std::fill(logits_.data() + begin * kTileRows + head_rows(begin, end), logits_.data() + end * kTileRows, kNoToken);
    float largest[kTileRows];
    std::fill_n(largest, kTileRows, kNone.max);
    for (int tile = begin; tile < end; ++tile) {
      const float *row = logits_.data() + tile * kTileRows, *bound = residual_bounds_ + tile * kTileRows;
      float most[kTileRows];
      for (int r = 0; r < kTileRows; ++r) {
        most[r] = row[r] + kLogitRounding * std::fabs(row[r]) + bound[r] * norm;
        largest[r] = row[r] > largest[r] ? row[r] : largest[r];
      }
      reach_[size_t(tile)] = top(most);
    }
    stats_[size_t(chunk)] = kNone;
    stats_[size_t(chunk)].max = top(largest);
  });
  pool_.barrier(thread);

  if (thread == 0) {  // one tile: the one whose coarse logit is the largest
    const auto less = [](const LogitStats& a, const LogitStats& b) { return a.max < b.max; };
    const int chunk = int(std::max_element(stats_.data(), stats_.data() + chunks, less) - stats_.data());
    LogitStats coarse = kNone, full = kNone;
    for (int tile = chunk * kChunkTiles; tile < std::min(tiles, (chunk + 1) * kChunkTiles); ++tile) keep_largest(coarse, tile);
    const int tile = coarse.argmax / kTileRows;
    multiply(8, tile, tile + 1);
    keep_largest(full, tile);
    least_ = full.max - kLogitRounding * std::fabs(full.max);
  }
  pool_.barrier(thread);

  std::vector<int>& wanted = own_[size_t(thread)].wanted_tiles;  // the same on every thread
  wanted.clear();
  for (int tile = 0; tile < tiles; ++tile)
    if (!(reach_[size_t(tile)] < least_)) wanted.push_back(tile);
  pool_.claim(thread, int(wanted.size()), [&](int i) {
    multiply(8, wanted[size_t(i)], wanted[size_t(i)] + 1);
    stats_[size_t(i)] = kNone;
    keep_largest(stats_[size_t(i)], wanted[size_t(i)]);
  });
}

Distribution Transformer::distribution(int row) const {
  if (!coarse_head_) return merge_stats(stats_.data() + size_t(row) * size_t(head_chunks()), head_chunks());
  Distribution d;
  d.max = -std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < own_[0].wanted_tiles.size(); ++i)
    if (stats_[i].max > d.max) d.max = stats_[i].max, d.argmax = stats_[i].argmax;
  d.finite = std::isfinite(d.max);
  return d;
}

bool Transformer::finite(int row) const {
  if (coarse_head_) return distribution(row).finite;
  const LogitStats* stats = stats_.data() + size_t(row) * size_t(head_chunks());
  return std::all_of(stats, stats + head_chunks(), [](const LogitStats& s) { return s.finite; });
}

std::vector<float> Transformer::hidden_sum(int sequence) const {
  const size_t hidden = size_t(config_.hidden_size);
  std::vector<float> row(size_t(round_up(config_.hidden_size, kSuperblock)));
  std::vector<double> sum(hidden, 0.0);
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (rows_[i].sequence != sequence) continue;
    norm(final_norm_, h_.data() + i * hidden, row.data());
    for (size_t k = 0; k < hidden; ++k) sum[k] += double(row[k]);
  }
  return {sum.begin(), sum.end()};
}

}  // namespace onesec
