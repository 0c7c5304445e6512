// The decoder's cache and what reads it: keys and values written, attention in splits, splits merged.
#include <algorithm>
#include <cmath>

#include "transformer.h"

namespace onesec {

size_t Transformer::block_bytes(DType dtype) const {
  const size_t pairs = size_t(config_.num_layers) * size_t(config_.num_kv_heads) * 2;
  const size_t scales = dtype == DType::i8 ? kBlockTokens * sizeof(float) : 0;
  return pairs * (size_t(config_.head_dim) * kBlockTokens * size_t(dtype_bytes(dtype)) + scales);
}

// Pool layout: [layer][kv head][keys, values][block][...], scales alike.
void Transformer::allocate_cache(int num_blocks, DType dtype) {
  num_blocks_ = num_blocks;
  cache_dtype_ = dtype;
  const size_t pools = size_t(config_.num_layers) * size_t(config_.num_kv_heads) * 2;
  const size_t block = size_t(config_.head_dim) * kBlockTokens * size_t(dtype_bytes(dtype));
  cache_ = Arena(pools * size_t(num_blocks) * block);
  cache_scales_.assign(dtype == DType::i8 ? pools * size_t(num_blocks) * kBlockTokens : 0, 0.0f);
}
void Transformer::rotate_and_store(int layer, int row, int kv_head, bool with_queries) {
  const Layer& l = layers_[size_t(layer)];
  const int hd = config_.head_dim, group = config_.num_heads / config_.num_kv_heads;
  float* base = qkv_.data() + size_t(row) * size_t(ld_qkv_);
  float* key = base + k_offset_ + kv_head * hd;
  const float* value = base + v_offset_ + kv_head * hd;
  const int rope_index = config_.layers[size_t(layer)].rope;
  const Rope* rope = config_.learned_position || config_.ropes.empty() ? nullptr : &config_.ropes[size_t(rope_index)];
  const float* cos_sin = cos_sin_.data() + (size_t(row) * config_.ropes.size() + size_t(rope_index)) * size_t(hd);
  const auto turn = [&](float* head, const float* weight) {
    if (weight) kernels_.rms_norm(head, weight, config_.norm_eps, hd, head);
    if (rope) kernels_.rope(head, cos_sin, int(rope->inv_freq.size()) * 2);
  };
  turn(key, l.k_norm);
  if (with_queries)
    for (int h = 0; h < group; ++h) turn(base + (kv_head * group + h) * hd, l.q_norm);
  const Row& at = rows_[size_t(row)];
  const int64_t block = sequences_[size_t(at.sequence)].block_table[at.position / kBlockTokens];
  const size_t bytes = size_t(hd) * kBlockTokens * size_t(dtype_bytes(cache_dtype_));
  const size_t pool = (size_t(layer) * size_t(config_.num_kv_heads) + size_t(kv_head)) * 2;
  const int slot = at.position % kBlockTokens;
  for (int side = 0; side < 2; ++side) {
    const size_t index = (pool + size_t(side)) * size_t(num_blocks_) + size_t(block);
    float* scale = cache_dtype_ == DType::i8 ? cache_scales_.data() + index * kBlockTokens + slot : nullptr;
    (side == 0 ? kernels_.write_keys : kernels_.write_values)(side == 0 ? key : value, hd, cache_dtype_, slot,
                                                              cache_.data() + index * bytes, scale);
  }
}

void Transformer::attend(int thread, int layer, const AttentionItem& item, int kv_head) {
  const int hd = config_.head_dim, group = config_.num_heads / config_.num_kv_heads;
  const size_t bytes = size_t(hd) * kBlockTokens * size_t(dtype_bytes(cache_dtype_));
  const size_t pool = (size_t(layer) * size_t(config_.num_kv_heads) + size_t(kv_head)) * 2;
  const size_t total = rows_.size();
  AttentionTask t{};
  t.q = qkv_.data() + size_t(item.first_row) * size_t(ld_qkv_) + kv_head * group * hd;
  t.ld_q = ld_qkv_;
  t.out = attn_ + (size_t(item.split) * total + size_t(item.first_row)) * size_t(ld_attn_) + kv_head * group * hd;
  t.ld_out = ld_attn_;
  t.queries = item.count, t.heads = group, t.head_dim = hd;
  t.first_position = rows_[size_t(item.first_row)].position;
  t.window = config_.layers[size_t(layer)].window;
  t.begin = item.split * kSplit, t.end = t.begin + kSplit;
  t.block_table = sequences_[size_t(item.sequence)].block_table;
  t.keys = cache_.data() + pool * size_t(num_blocks_) * bytes;
  t.values = t.keys + size_t(num_blocks_) * bytes;
  if (cache_dtype_ == DType::i8) {
    t.key_scales = cache_scales_.data() + pool * size_t(num_blocks_) * kBlockTokens;
    t.value_scales = t.key_scales + size_t(num_blocks_) * kBlockTokens;
  }
  t.block_stride = int64_t(bytes), t.scale_stride = kBlockTokens;
  t.dtype = cache_dtype_, t.scale = config_.attention_scale, t.softcap = config_.attention_softcap;
  std::vector<float>& scratch = own_[size_t(thread)].scratch;
  t.scratch = scratch.data();
  float* state = scratch.data() + attention_scratch_floats(item.count, group, hd);
  t.max_sum = state;
  kernels_.attention(t);
  for (int q = 0; q < item.count; ++q)
    for (int h = 0; h < group; ++h) {
      float* to = max_sum_.data() + ((size_t(item.split) * total + size_t(item.first_row + q)) * size_t(config_.num_heads) +
                                     size_t(kv_head * group + h)) * 2;
      to[0] = state[2 * (q * group + h)], to[1] = state[2 * (q * group + h) + 1];
    }
}

// Scratch of a task, and behind it the greatest score and the sum of each query and head.
size_t Transformer::attention_floats(int queries, int group) const {
  return size_t(attention_scratch_floats(queries, group, config_.head_dim)) + size_t(queries) * size_t(group) * 2;
}

// Splits of one row, in order of position, into out[num_heads * head_dim].
void Transformer::merge(int row, float* out) {
  const size_t total = rows_.size();
  const int hd = config_.head_dim, splits = rows_[size_t(row)].position / kSplit + 1;
  for (int h = 0; h < config_.num_heads; ++h) {
    float top = -3.4e38f, sum = 0.0f;
    const auto state = [&](int s) {
      return max_sum_.data() + ((size_t(s) * total + size_t(row)) * size_t(config_.num_heads) + size_t(h)) * 2;
    };
    for (int s = 0; s < splits; ++s) top = std::max(top, state(s)[0]);
    float* to = out + h * hd;
    for (int d = 0; d < hd; ++d) to[d] = 0.0f;
    for (int s = 0; s < splits; ++s) {
      if (state(s)[1] == 0.0f) continue;  // the window hides all of it
      const float factor = std::exp(state(s)[0] - top);
      const float* from = attn_ + (size_t(s) * total + size_t(row)) * size_t(ld_attn_) + h * hd;
      sum += state(s)[1] * factor;
      for (int d = 0; d < hd; ++d) to[d] += from[d] * factor;
    }
    const float inverse = 1.0f / sum;
    for (int d = 0; d < hd; ++d) to[d] *= inverse;
  }
}

}  // namespace onesec
