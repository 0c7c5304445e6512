#include "transformer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace onesec {
namespace {

constexpr int kQueryTile = 16;       // query tokens a prefill task covers
constexpr size_t kChunkBytes = 32768;  // weights claimed at once; by a lone row, which reads them once, at least
constexpr int kWholeShare = 1 << 30;
constexpr int kFineRun = 4;            // chunks of a lone row of fine activations, which meets them twice: a second-level cache keeps them

// How many tiles a thread may take on end, where it claims `step` at once.
int longest_run(int step, int rows, Width width) { return rows > 1 ? step : width.fine() ? kFineRun * step : kWholeShare; }

PlaneMatrix slice(const PlaneMatrix& w, int tile_begin, int tiles) {
  return {w.hi_tile(tile_begin), w.lo ? w.lo_tile(tile_begin) : nullptr, w.row_scale + size_t(tile_begin) * kTileRows,
          tiles * kTileRows, w.cols};
}

}  // namespace

void Transformer::Rounded::reserve(int rows, int cols, bool prompt) {
  const size_t n = size_t(rows) * size_t(cols), groups = n / kGroup;
  if (prompt) {
    if (lines.size() < prompt_lines(rows, cols)) lines.resize(prompt_lines(rows, cols));
  } else if (q.size() < n) {
    scale.resize(groups), offset.resize(groups), residual.resize(groups);
    q.resize(n);  // last, since it stands for all: where memory ends before, the next call tries again
  }
}

QuantRows Transformer::Rounded::view(int cols) { return {q.data(), scale.data(), offset.data(), residual.data(), cols}; }
PromptRows Transformer::Rounded::prompt_view(int cols) { return {lines.data(), cols}; }

void Transformer::Buffers::reserve(int rows, int cols, int float_cols, bool for_prompt, bool fine) {
  prompt = for_prompt;
  ld = float_cols;
  if (x.size() < size_t(rows) * size_t(ld)) x.resize(size_t(rows) * size_t(ld));
  rounded.reserve(rows, cols, prompt);
  if (fine) rest.reserve(rows, cols, prompt);
}

Transformer::Transformer(Config config, int threads, const char* isa)
    : config_(std::move(config)), kernels_(choose_kernels(isa)), pool_(threads), own_(size_t(pool_.most())) {
  const Config& c = config_;
  add_matrix("embed", {c.vocab_size}, c.hidden_size);
  if (!c.tie_embeddings) add_matrix("head", {c.vocab_size}, c.hidden_size);
  const int q = c.num_heads * c.head_dim, kv = c.num_kv_heads * c.head_dim, ffn = c.intermediate_size;
  for (int i = 0; i < c.num_layers; ++i) {
    const std::string p = "layers." + std::to_string(i) + ".";
    add_matrix(p + "qkv", {q, kv, kv}, c.hidden_size);
    add_matrix(p + "o", {c.hidden_size}, q);
    if (c.gated) add_matrix(p + "gate_up", {ffn, ffn}, c.hidden_size);
    else add_matrix(p + "up", {ffn}, c.hidden_size);
    add_matrix(p + "down", {c.hidden_size}, ffn);
  }
  k_offset_ = round_up(q, kTileRows);
  v_offset_ = k_offset_ + round_up(kv, kTileRows);
  ld_qkv_ = v_offset_ + round_up(kv, kTileRows);
  ld_ff_ = round_up(ffn, kTileRows);
  ld_attn_ = q;
}

void Transformer::add_matrix(const std::string& name, std::vector<int> segment_rows, int cols) {
  Matrix m;
  m.cols = cols;
  for (const int rows : segment_rows) m.rows += round_up(rows, kTileRows);
  m.segment_rows = std::move(segment_rows);
  matrices_.emplace(name, std::move(m));
  names_.push_back(name);
}
Matrix& Transformer::matrix(const std::string& name) { return matrices_.at(name); }

void Transformer::set_vector(const std::string& name, std::vector<float> values) { vectors_[name] = std::move(values); }

void Transformer::norm(const Norm& n, const float* x, float* out) const {
  if (config_.rms) kernels_.rms_norm(x, n.weight, config_.norm_eps, config_.hidden_size, out);
  else kernels_.layer_norm(x, n.weight, n.bias, config_.norm_eps, config_.hidden_size, out);
}

void Transformer::embed(int row, const Widths& widths) {
  const SequenceRows& s = sequences_[size_t(rows_[size_t(row)].sequence)];
  const int position = rows_[size_t(row)].position, hidden = config_.hidden_size;
  const int token = s.tokens[position - s.start];
  float* h = h_.data() + size_t(row) * size_t(hidden);
  const int bits = widths[size_t(embed_index_)].weights;
  if (bits == 16) {
    const Segment& e = embed_->segments[0];
    kernels_.widen(static_cast<const uint8_t*>(e.data) + size_t(token) * size_t(hidden) * size_t(dtype_bytes(e.dtype)), e.dtype,
                   hidden, h);
  } else {
    unpack_row(embed_->planes, token, bits == 8 ? 8 : 4, hidden, h);
  }
  if (config_.embedding_scale != 1.0f)
    for (int i = 0; i < hidden; ++i) h[i] *= config_.embedding_scale;
  if (config_.learned_position) kernels_.add(h, positions_ + size_t(position) * size_t(hidden), hidden);
  size_t at = size_t(row) * config_.ropes.size() * size_t(config_.head_dim);
  for (const Rope& rope : config_.ropes) {
    const size_t half = rope.inv_freq.size();
    for (size_t i = 0; i < half; ++i) {
      const float angle = float(position) * rope.inv_freq[i];
      cos_sin_[at + i] = std::cos(angle) * rope.attention_factor;
      cos_sin_[at + half + i] = std::sin(angle) * rope.attention_factor;
    }
    at += size_t(config_.head_dim);
  }
}

// The second arithmetic of prompts does not round to 8 bits, and leaves no rest.
bool Transformer::meets_rest(const Buffers& b, Width width) const {
  return width.fine() && (!b.prompt || kernels_.prompt->decode_bits);
}

void Transformer::load(int thread, Buffers& b, int slot, const float* x, int cols, Width width) {
  if (width.weights == 16) {
    float* to = b.x.data() + size_t(slot) * size_t(b.ld);
    if (to != x) std::memcpy(to, x, size_t(cols) * sizeof(float));
    return;
  }
  const int padded = round_up(cols, kSuperblock);
  const auto round = [&](const float* from, Rounded& to) {
    if (b.prompt) kernels_.prompt->round(from, cols, slot, to.prompt_view(padded));
    else kernels_.quantize(from, cols, to.view(padded).from(slot));
  };
  round(x, b.rounded);
  if (!meets_rest(b, width)) return;
  std::vector<float>& left = own_[size_t(thread)].remainder;
  kernels_.remainder(x, cols, left.data());
  round(left.data(), b.rest);
}

void Transformer::prepare(int thread, Buffers& b, int slot, const Norm& n, const float* x, Width width) {
  float* to = b.x.data() + size_t(slot) * size_t(b.ld);
  norm(n, x, to);
  load(thread, b, slot, to, config_.hidden_size, width);
}

// y and bias point at the row of tile_begin.
void Transformer::plane_product(int thread, const Matrix& m, int bits, int tile_begin, int tile_end, Rounded& x, bool prompt,
                                int rows, float* y, int ld_y, const float* bias, bool add) {
  const int tiles = tile_end - tile_begin;
  const PlaneMatrix w = slice(m.planes, tile_begin, tiles);
  if (prompt)
    (bits == 8 ? kernels_.prompt->matmul8 : kernels_.prompt->matmul4)(w, 0, tiles, x.prompt_view(m.padded_cols()), rows, y, ld_y,
                                                                      bias, add, own_[size_t(thread)].lines.data());
  else
    (bits == 8 ? kernels_.matmul8 : kernels_.matmul4)(w, 0, tiles, x.view(m.padded_cols()), rows, y, ld_y, bias, add);
}

// y points at the row of tile_begin. What 8 bits leave of the activations is less than 1/254 of the largest of a group: it
// meets hi alone, since lo would move the product by a sixteenth of that again.
void Transformer::product(int thread, const Matrix& m, Width width, int tile_begin, int tile_end, Buffers& b, int rows, float* y,
                          int ld_y, const float* bias, bool add) {
  if (bias) bias += size_t(tile_begin) * kTileRows;
  if (width.weights != 16) {
    plane_product(thread, m, width.weights, tile_begin, tile_end, b.rounded, b.prompt, rows, y, ld_y, bias, add);
    if (meets_rest(b, width)) plane_product(thread, m, 4, tile_begin, tile_end, b.rest, b.prompt, rows, y, ld_y, nullptr, true);
    return;
  }
  int begin = tile_begin * kTileRows;
  const int end = tile_end * kTileRows, start = begin;
  int first = 0;
  for (size_t s = 0; s < m.segments.size() && begin < end; ++s) {
    const int padded = round_up(m.segment_rows[s], kTileRows);
    if (begin < first + padded) {
      const int row = begin - first, stop = std::min(end, first + padded);
      const int count = std::min(stop - begin, m.segment_rows[s] - row);
      const Segment& seg = m.segments[s];
      if (count > 0)
        kernels_.matmul16(static_cast<const uint8_t*>(seg.data) + size_t(row) * size_t(m.cols) * size_t(dtype_bytes(seg.dtype)),
                          seg.dtype, count, m.cols, b.x.data(), b.ld, rows, y + (begin - start), ld_y,
                          bias ? bias + (begin - start) : nullptr, add);
      begin = stop;
    }
    first += padded;
  }
}

// What many rows have read of the 16-bit width they read again after a whole forward: mapped pages need not stay resident
// until then, so that a model that is measured beside its source takes little more than its planes.
void Transformer::let_go(const Matrix& m, Width width, int tile_begin, int tile_end) const {
  if (width.weights != 16) return;
  int first = 0;
  for (size_t s = 0; s < m.segments.size(); ++s) {
    const int begin = std::max(tile_begin * kTileRows - first, 0), end = std::min(tile_end * kTileRows - first, m.segment_rows[s]);
    if (begin < end) m.segments[s].let_go(begin, end - begin, m.cols);
    first += round_up(m.segment_rows[s], kTileRows);
  }
}

// How many tiles of a matrix a thread takes at once: about `bytes` of weights in pairs, which kernels multiply together,
// or for prompt chunks what is opened together, as far as every thread gets some.
int Transformer::claimed_tiles(const Matrix& m, Width width, bool prompt, size_t bytes) const {
  if (prompt && width.weights != 16) return std::clamp(m.tiles() / (2 * pool_.size()) / 2 * 2, 2, kPromptPanelTiles);
  return int(std::max<size_t>(1, bytes / 2 / std::max<size_t>(1, m.bytes(width.weights) / size_t(m.tiles())))) * 2;
}

void Transformer::project(int thread, const Matrix& m, Width width, int tile_begin, int tile_end, Buffers& b, int rows, float* y,
                          int ld_y, const float* bias, bool add) {
  const int step = claimed_tiles(m, width, b.prompt, kChunkBytes), tiles = tile_end - tile_begin;
  pool_.claim_runs(thread, tiles, step, longest_run(step, rows, width), [&](int begin, int end) {
    begin += tile_begin, end += tile_begin;
    product(thread, m, width, begin, end, b, rows, y + size_t(begin) * kTileRows, ld_y, bias, add);
  });
}

// How many tiles of a feed-forward network's width a thread takes at once, at least and at most.
std::pair<int, int> Transformer::feed_runs(const Matrix& m, Width width, bool prompt, int rows) const {
  const int step = claimed_tiles(m, width, prompt, kChunkBytes / 2);
  return {step, longest_run(step, rows, width)};
}

// What a thread needs beside the shared rows: `up` of a run of the feed-forward network, or an attention task's own.
size_t Transformer::scratch_floats(int rows, const Widths& widths, bool prompt) const {
  int tiles = 0;
  for (const Layer& l : layers_) {
    const Width width = widths[size_t(l.width_index + 2)];
    if (config_.gated && width.weights != 0) tiles = std::max(tiles, std::min(feed_runs(*l.up, width, prompt, rows).second, ld_ff_ / kTileRows));
  }
  const int group = config_.num_heads / config_.num_kv_heads, queries = std::min(rows, kQueryTile);
  return std::max(size_t(rows) * size_t(tiles) * kTileRows, attention_floats(queries, group));
}

// ff = act(gate) * up, a chunk of columns at a time; where there is no gate, act(up).
void Transformer::feed(int thread, const Layer& l, Width width, Buffers& b, int rows) {
  const Matrix& m = *l.up;
  const int tiles = ld_ff_ / kTileRows;
  const auto [step, most] = feed_runs(m, width, b.prompt, rows);
  pool_.claim_runs(thread, tiles, step, most, [&](int begin, int end) {
    const int ld = (end - begin) * kTileRows;
    float* ff = ff_.data() + size_t(begin) * kTileRows;
    product(thread, m, width, begin, end, b, rows, ff, ld_ff_, l.up_bias, false);
    std::vector<float>& scratch = own_[size_t(thread)].scratch;
    if (config_.gated) {
      product(thread, m, width, tiles + begin, tiles + end, b, rows, scratch.data(), ld, l.up_bias, false);
    }
    const int valid = std::min(ld, config_.intermediate_size - begin * kTileRows);
    for (int r = 0; r < rows; ++r) {
      float* row = ff + size_t(r) * size_t(ld_ff_);
      kernels_.activate(config_.activation, row, config_.gated ? scratch.data() + size_t(r) * size_t(ld) : nullptr, valid, row);
    }
  });
}

void Transformer::forward(const std::vector<SequenceRows>& sequences, const Widths& widths, StepKind kind) {
  const Config& c = config_;
  sequences_ = sequences;
  rows_.clear(), logit_rows_.clear(), items_.clear();
  max_splits_ = 1;
  cache_bytes_read_ = 0;
  const size_t position_bytes = block_bytes(cache_dtype_) / kBlockTokens / size_t(c.num_layers);
  for (int s = 0; s < int(sequences_.size()); ++s) {
    const SequenceRows& seq = sequences_[size_t(s)];
    const int first = int(rows_.size()), last = seq.start + seq.count;
    for (int i = 0; i < seq.count; ++i) {
      rows_.push_back({s, seq.start + i});
      if (seq.all_logits || (seq.last_logits && i == seq.count - 1)) logit_rows_.push_back(first + i);
    }
    max_splits_ = std::max(max_splits_, (last - 1) / kSplit + 1);
    for (int i = 0; i < c.num_layers; ++i) {
      if (widths[size_t(layers_[size_t(i)].width_index)].weights == 0) continue;  // writes and does not read
      const int window = c.layers[size_t(i)].window, hidden_by_it = window > 0 ? std::max(0, seq.start - window + 1) : 0;
      cache_bytes_read_ += size_t(last - hidden_by_it) * position_bytes;
    }
    for (int i = 0; i < seq.count; i += kQueryTile) {
      const int count = std::min(kQueryTile, seq.count - i);
      for (int split = 0; split * kSplit < seq.start + i + count; ++split) items_.push_back({s, first + i, count, split});
    }
  }
  const size_t n = rows_.size(), hidden = size_t(c.hidden_size);
  const bool prompt = kernels_.prompt && (kernels_.prompt->decode_bits ? n >= kManyRows : kind.prompt);
  const auto grow = [](std::vector<float>& v, size_t size) { if (v.size() < size) v.resize(size); };
  const int between = std::max(c.hidden_size, c.num_heads * c.head_dim), widest = round_up(std::max(between, ld_ff_), kSuperblock);
  // What the feed-forward network makes is met as floats by the 16-bit width alone.
  const bool floats = std::any_of(widths.begin(), widths.end(), [](Width w) { return w.weights == 16; });
  const int float_cols = floats ? widest : round_up(between, kSuperblock);
  grow(h_, n * hidden), grow(qkv_, n * size_t(ld_qkv_)), grow(ff_, n * size_t(ld_ff_));
  if (!direct()) grow(tmp_, n * size_t(round_up(c.hidden_size, kTileRows)));
  grow(max_sum_, size_t(max_splits_) * n * size_t(c.num_heads) * 2);
  const size_t attn_bytes = size_t(max_splits_) * n * size_t(ld_attn_) * sizeof(float);
  if (attn_arena_.size() < attn_bytes) attn_arena_ = Arena(std::max(attn_bytes, 2 * attn_arena_.size()));
  attn_ = reinterpret_cast<float*>(attn_arena_.data());
  grow(cos_sin_, n * c.ropes.size() * size_t(c.head_dim));
  const bool fine = std::any_of(widths.begin(), widths.end(), [](Width w) { return w.fine(); });
  shared_.reserve(int(n), widest, float_cols, prompt, fine);
  const int head_cols = round_up(c.hidden_size, kSuperblock);
  if (prompt) head_input_.reserve(int(logit_rows_.size()), head_cols, head_cols, false, fine);
  // All that threads will write to is there before they begin: an allocation that fails in their midst could not be told.
  const size_t scratch = scratch_floats(int(n), widths, prompt);
  for (Own& own : own_) {
    own.buffers.reserve(1, widest, float_cols, false, fine);
    grow(own.scratch, scratch);
    if (fine) grow(own.remainder, size_t(widest));
    own.wanted_tiles.reserve(size_t(head_->tiles()));
    if (prompt && own.lines.size() < prompt_scratch_lines(int(n))) own.lines.resize(prompt_scratch_lines(int(n)));
  }
  ld_logits_ = round_up(c.vocab_size, kTileRows);
  grow(logits_, logit_rows_.size() * size_t(ld_logits_));
  const size_t asked = logit_rows_.size(), stats = asked * size_t(head_chunks());
  if (stats_.size() < stats) stats_.resize(stats);
  once_ = kind.once;
  // A softcap rounds: logits that differ may leave it equal, and the coarse head would not see the tie.
  coarse_head_ = kind.argmax_only && asked == 1 && widths[size_t(head_index_)].weights == 8 && residual_bounds_ && c.final_softcap <= 0.0f;
  if (coarse_head_) {
    grow(reach_, size_t(head_->tiles()));
    stats_.resize(std::max(stats_.size(), size_t(head_->tiles())));
  }
  pool_.run([&](int thread) { run(thread, widths); });
  weight_bytes_read_ = weight_bytes(widths);
  if (coarse_head_) {
    weight_bytes_read_ -= head_->lo_bytes();
    weight_bytes_read_ += own_[0].wanted_tiles.size() * (head_->hi_bytes() + head_->lo_bytes()) / size_t(head_->tiles());
  }
}

void Transformer::watch(bool on) {
  moments_.clear();
  std::vector<Moments> empty;
  if (on)
    for (const auto& name : names_) empty.emplace_back(matrices_.at(name).cols);
  moments_ = std::move(empty);  // of all matrices, or of none
}

const Moments& Transformer::moments(const std::string& name) const {
  return moments_.at(size_t(std::find(names_.begin(), names_.end(), name) - names_.begin()));
}

void Transformer::see(int thread, int matrix, const float* x, int ld, int rows) {
  if (!moments_.empty()) moments_[size_t(matrix)].add(kernels_, thread, pool_.size(), x, ld, rows);
}

// The whole step, on every thread. A lone row is prepared by each thread for itself, which saves the barriers that
// dividing the work would cost: five a layer stay.
void Transformer::run(int thread, const Widths& widths) {
  const Config& c = config_;
  const int n = int(rows_.size()), hidden = c.hidden_size;
  const int ld_h = hidden;
  const bool direct = this->direct(), lone = n == 1 && !shared_.prompt && direct;
  Buffers& b = lone ? own_[size_t(thread)].buffers : shared_;
  const auto barrier = [&] { pool_.barrier(thread); };
  const auto each_row = [&](auto&& body) {  // every row once; a lone row once a thread
    if (lone) body(0);
    else pool_.claim(thread, n, body), barrier();
  };
  const auto h = [&](int row) { return h_.data() + size_t(row) * size_t(ld_h); };
  const int ld_tmp = round_up(hidden, kTileRows);
  const auto settle = [&](int row, const Norm& post) {  // h += post_norm(tmp)
    if (direct) return;
    float* out = tmp_.data() + size_t(row) * size_t(ld_tmp);
    if (c.post_norms) norm(post, out, out);
    kernels_.add(h(row), out, hidden);
  };

  pool_.claim(thread, n, [&](int row) { embed(row, widths); });
  barrier();
  for (int i = 0; i < c.num_layers; ++i) {
    const Layer& l = layers_[size_t(i)];
    const Width qkv_width = widths[size_t(l.width_index)], o_width = widths[size_t(l.width_index + 1)],
                up_width = widths[size_t(l.width_index + 2)], down_width = widths[size_t(l.width_index + 3)];
    const bool attends = qkv_width.weights != 0;
    // A skipped attention still writes its keys and values, at the hi width: any gear can read any cache.
    const Width width = attends ? qkv_width : Width{4};
    each_row([&](int row) { prepare(thread, b, row, l.attn_norm, h(row), width); });
    see(thread, l.width_index, b.x.data(), b.ld, n);
    project(thread, *l.qkv, width, attends ? 0 : k_offset_ / kTileRows, l.qkv->tiles(), b, n, qkv_.data(), ld_qkv_, l.qkv_bias, false);
    barrier();
    if (n == 1 && max_splits_ == 1) {
      pool_.claim(thread, c.num_kv_heads, [&](int head) {
        rotate_and_store(i, 0, head, attends);
        if (attends) attend(thread, i, items_[0], head);
      });
      barrier();
    } else {
      pool_.claim(thread, n * c.num_kv_heads, [&](int k) { rotate_and_store(i, k / c.num_kv_heads, k % c.num_kv_heads, attends); });
      barrier();
      if (attends) {
        pool_.claim(thread, int(items_.size()) * c.num_kv_heads, [&](int k) {
          attend(thread, i, items_[size_t(k / c.num_kv_heads)], k % c.num_kv_heads);
        });
        barrier();
      }
    }
    if (attends) {
      each_row([&](int row) {
        float* merged = b.x.data() + size_t(row) * size_t(b.ld);
        merge(row, merged);
        load(thread, b, row, merged, c.num_heads * c.head_dim, o_width);
      });
      see(thread, l.width_index + 1, b.x.data(), b.ld, n);
      project(thread, *l.o, o_width, 0, l.o->tiles(), b, n, direct ? h_.data() : tmp_.data(), direct ? ld_h : ld_tmp, l.o_bias, direct);
      barrier();
    }
    if (up_width.weights != 0) {
      each_row([&](int row) {
        if (attends) settle(row, l.post_attn_norm);
        prepare(thread, b, row, l.ffn_norm, h(row), up_width);
      });
      see(thread, l.width_index + 2, b.x.data(), b.ld, n);
      feed(thread, l, up_width, b, n);
      barrier();
      each_row([&](int row) { load(thread, b, row, ff_.data() + size_t(row) * size_t(ld_ff_), c.intermediate_size, down_width); });
      see(thread, l.width_index + 3, ff_.data(), ld_ff_, n);
      project(thread, *l.down, down_width, 0, l.down->tiles(), b, n, direct ? h_.data() : tmp_.data(), direct ? ld_h : ld_tmp, l.down_bias, direct);
      barrier();
      if (!direct) each_row([&](int row) { settle(row, l.post_ffn_norm); });
    } else if (attends && !direct) {
      each_row([&](int row) { settle(row, l.post_attn_norm); });
    }
    if (thread == 0 && (once_ || n >= kLettingRows))
      for (const auto& [m, used] : {std::pair(l.qkv, width), {l.o, o_width}, {l.up, up_width}, {l.down, down_width}}) let_go(*m, used, 0, m->tiles());
  }

  const int count = int(logit_rows_.size());
  if (count == 0) return;
  const Width head_width = widths[size_t(head_index_)];
  Buffers& last = b.prompt ? head_input_ : b;
  if (lone) {
    prepare(thread, last, 0, final_norm_, h(0), head_width);
  } else {
    pool_.claim(thread, count, [&](int k) { prepare(thread, last, k, final_norm_, h(logit_rows_[size_t(k)]), head_width); });
    barrier();
  }
  see(thread, head_index_, last.x.data(), last.ld, count);
  if (coarse_head_) coarse_head(thread, head_width.fine(), last);
  else head(thread, head_width, last);
}

}  // namespace onesec
