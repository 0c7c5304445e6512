#include "transformer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace onesec {
namespace {

constexpr int kSplit = 512;          // positions an attention task covers: fixed, so bits depend on positions alone
constexpr int kQueryTile = 8;        // query tokens a prefill task covers
constexpr size_t kChunkBytes = 32768;  // weights claimed at once
constexpr int kStatTiles = 16;       // head tiles whose logits are summed up together: fixed

PlaneMatrix slice(const PlaneMatrix& w, int tile_begin, int tiles) {
  return {w.hi_tile(tile_begin), w.lo ? w.lo_tile(tile_begin) : nullptr, w.row_scale + size_t(tile_begin) * kTileRows,
          tiles * kTileRows, w.cols};
}

bool all_finite(const float* x, size_t n) {
  uint32_t found = 0;
  for (size_t i = 0; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, x + i, 4);
    found |= uint32_t((bits & 0x7f800000u) == 0x7f800000u);
  }
  return found == 0;
}

}  // namespace

size_t Matrix::source_bytes() const {
  size_t total = 0;
  for (const Segment& s : segments) total += size_t(s.rows) * size_t(cols) * size_t(dtype_bytes(s.dtype));
  return total;
}

size_t Matrix::bytes(int width) const {
  if (width == 0) return 0;
  if (width == 16) return source_bytes();
  return hi_bytes() + size_t(rows) * sizeof(float) + (width == 8 ? lo_bytes() : 0);
}

void Transformer::Buffers::reserve(int rows, int cols) {
  const size_t n = size_t(rows) * size_t(cols), groups = n / kGroup;
  ld = std::max(ld, cols);
  if (x.size() < size_t(rows) * size_t(ld)) x.resize(size_t(rows) * size_t(ld));
  if (q.size() < n) q.resize(n), scale.resize(groups), offset.resize(groups), residual.resize(groups);
}

QuantRows Transformer::Buffers::view(int cols) { return {q.data(), scale.data(), offset.data(), residual.data(), cols}; }

Transformer::Transformer(Config config, int threads, const char* isa)
    : config_(std::move(config)), kernels_(choose_kernels(isa)), pool_(threads), own_(size_t(pool_.size())) {
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

void Transformer::reserve_planes() {
  size_t hi = 0, lo = 0;
  for (const auto& name : names_)  // whole cache lines each: the arena adds no padding between them
    hi += matrices_.at(name).hi_bytes(), lo += matrices_.at(name).lo_bytes();
  hi_arena_ = Arena(hi);
  lo_arena_ = Arena(lo);
}

bool Transformer::pack(Matrix& m, const std::vector<Segment>& segments) {
  uint8_t* hi = hi_arena_.take(m.hi_bytes());
  uint8_t* lo = lo_arena_.take(m.lo_bytes());
  row_scales_.emplace_back(size_t(m.rows));
  float* scales = row_scales_.back().data();
  m.planes = {hi, lo, scales, m.rows, m.padded_cols()};
  std::atomic<bool> finite{true};
  pool_.run([&](int thread) {
    std::vector<float> wide(size_t(kTileRows) * size_t(m.cols));
    pool_.claim(thread, m.tiles(), [&](int tile) {
      int row = tile * kTileRows, first = 0;
      size_t s = 0;
      while (row >= first + round_up(m.segment_rows[s], kTileRows)) first += round_up(m.segment_rows[s++], kTileRows);
      row -= first;
      const int count = std::min(kTileRows, m.segment_rows[s] - row);
      const auto* data = static_cast<const uint8_t*>(segments[s].data) +
                         size_t(row) * size_t(m.cols) * size_t(dtype_bytes(segments[s].dtype));
      kernels_.widen(data, segments[s].dtype, count * m.cols, wide.data());
      if (!all_finite(wide.data(), size_t(count) * size_t(m.cols))) finite = false;
      else pack_tile(wide.data(), count, m.cols, m.cols, const_cast<uint8_t*>(m.planes.hi_tile(tile)),
                     const_cast<uint8_t*>(m.planes.lo_tile(tile)), scales + size_t(tile) * kTileRows);
    });
  });
  return finite;
}

void Transformer::fill_random(Matrix& m, uint64_t seed, float deviation) {
  uint8_t* hi = hi_arena_.take(m.hi_bytes());
  uint8_t* lo = lo_arena_.take(m.lo_bytes());
  row_scales_.emplace_back(size_t(m.rows), deviation / 840.0f);  // a uniform code has deviation 4.6 steps of ~185 units
  m.planes = {hi, lo, row_scales_.back().data(), m.rows, m.padded_cols()};
  const int blocks = m.tiles() * m.planes.superblocks();
  pool_.run([&](int thread) {
    pool_.claim(thread, blocks, [&](int block) {
      uint64_t state = seed * 0x9e3779b97f4a7c15ull + uint64_t(block) + 1;
      const auto fill = [&state](uint8_t* p, size_t bytes) {
        for (size_t i = 0; i < bytes; i += 8) {
          state += 0x9e3779b97f4a7c15ull;
          uint64_t z = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9ull;
          z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
          z ^= z >> 31;
          std::memcpy(p + i, &z, 8);
        }
      };
      uint8_t* h = hi + size_t(block) * kHiBytes;
      fill(h, kHiBytes);
      fill(lo + size_t(block) * kLoBytes, kLoBytes);
      for (int i = 0; i < 2 * kTileRows; ++i) {
        const int scale = 170 + h[kScaleLine + i] % 32;
        h[kScaleLine + i] = uint8_t(scale);
        h[kScaleLine + 2 * kTileRows + i] = uint8_t(scale * 15 / 2 / kMinimumUnit);  // centres the codes on zero
      }
    });
  });
}

void Transformer::copy_planes(Matrix& m, const uint8_t* hi, const uint8_t* lo, const float* row_scale) {
  uint8_t* to_hi = hi_arena_.take(m.hi_bytes());
  uint8_t* to_lo = lo_arena_.take(m.lo_bytes());
  row_scales_.emplace_back(row_scale, row_scale + m.rows);
  m.planes = {to_hi, to_lo, row_scales_.back().data(), m.rows, m.padded_cols()};
  constexpr size_t piece = size_t(1) << 20;
  const size_t hi_bytes = m.hi_bytes(), lo_bytes = m.lo_bytes();
  const int hi_pieces = int((hi_bytes + piece - 1) / piece), lo_pieces = int((lo_bytes + piece - 1) / piece);
  pool_.run([&](int thread) {
    pool_.claim(thread, hi_pieces + lo_pieces, [&](int i) {
      const bool high = i < hi_pieces;
      const size_t at = size_t(high ? i : i - hi_pieces) * piece;
      if (high) std::memcpy(to_hi + at, hi + at, std::min(piece, hi_bytes - at));
      else std::memcpy(to_lo + at, lo + at, std::min(piece, lo_bytes - at));
    });
  });
}

void Transformer::map_planes(Matrix& m, const uint8_t* hi, const uint8_t* lo, const float* row_scale) {
  row_scales_.emplace_back(row_scale, row_scale + m.rows);
  m.planes = {hi, lo, row_scales_.back().data(), m.rows, m.padded_cols()};
}

const float* Transformer::find(const std::string& name) const {
  const auto it = vectors_.find(name);
  return it == vectors_.end() ? nullptr : it->second.data();
}

// A bias as the products see it: segments at multiples of kTileRows.
std::vector<float> Transformer::padded_bias(const Matrix& m, const std::vector<float>& bias) const {
  std::vector<float> out(size_t(m.rows), 0.0f);
  size_t from = 0, to = 0;
  for (const int rows : m.segment_rows) {
    for (int r = 0; r < rows && from < bias.size(); ++r) out[to + size_t(r)] = bias[from++];
    to += size_t(round_up(rows, kTileRows));
  }
  return out;
}

void Transformer::finish() {
  embed_ = &matrices_.at("embed");
  head_ = config_.tie_embeddings ? embed_ : &matrices_.at("head");
  embed_index_ = 0;
  head_index_ = config_.tie_embeddings ? 0 : 1;
  const auto pad = [&](const std::string& name, const Matrix& m) {
    const auto it = vectors_.find(name);
    if (it != vectors_.end()) it->second = padded_bias(m, it->second);
    return find(name);
  };
  layers_.resize(size_t(config_.num_layers));
  for (int i = 0; i < config_.num_layers; ++i) {
    const std::string p = "layers." + std::to_string(i) + ".";
    const std::string up = config_.gated ? "gate_up" : "up";
    Layer& l = layers_[size_t(i)];
    l.qkv = &matrices_.at(p + "qkv"), l.o = &matrices_.at(p + "o");
    l.up = &matrices_.at(p + up), l.down = &matrices_.at(p + "down");
    l.attn_norm = {find(p + "attn_norm"), find(p + "attn_norm_bias")};
    l.ffn_norm = {find(p + "ffn_norm"), find(p + "ffn_norm_bias")};
    l.post_attn_norm = {find(p + "post_attn_norm"), nullptr};
    l.post_ffn_norm = {find(p + "post_ffn_norm"), nullptr};
    l.q_norm = find(p + "q_norm"), l.k_norm = find(p + "k_norm");
    l.qkv_bias = pad(p + "qkv_bias", *l.qkv), l.o_bias = pad(p + "o_bias", *l.o);
    l.up_bias = pad(p + up + "_bias", *l.up), l.down_bias = pad(p + "down_bias", *l.down);
    l.width_index = head_index_ + 1 + 4 * i;
  }
  final_norm_ = {find("final_norm"), find("final_norm_bias")};
  head_bias_ = pad("head_bias", *head_);
}

size_t Transformer::block_bytes() const {
  const size_t pairs = size_t(config_.num_layers) * size_t(config_.num_kv_heads) * 2;
  const size_t scales = cache_dtype_ == DType::i8 ? kBlockTokens * sizeof(float) : 0;
  return pairs * (size_t(config_.head_dim) * kBlockTokens * size_t(dtype_bytes(cache_dtype_)) + scales);
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

size_t Transformer::weight_bytes(const Widths& widths) const {
  size_t total = 0;
  for (size_t i = 0; i < names_.size(); ++i) {
    if (names_[i] == "embed" && !config_.tie_embeddings) continue;  // one row of it
    const Matrix& m = matrices_.at(names_[i]);
    int width = widths[i];
    if (width == 0 && names_[i].ends_with(".qkv")) {  // keys and values are still written
      const double part = double(m.rows - k_offset_) / m.rows;
      total += size_t(part * double(m.bytes(4)));
      continue;
    }
    total += m.bytes(width);
  }
  return total;
}

void Transformer::norm(const Norm& n, const float* x, float* out) const {
  if (config_.rms) kernels_.rms_norm(x, n.weight, config_.norm_eps, config_.hidden_size, out);
  else kernels_.layer_norm(x, n.weight, n.bias, config_.norm_eps, config_.hidden_size, out);
}

void Transformer::embed(int row, const Widths& widths) {
  const SequenceRows& s = sequences_[size_t(rows_[size_t(row)].sequence)];
  const int position = rows_[size_t(row)].position, hidden = config_.hidden_size;
  const int token = s.tokens[position - s.start];
  float* h = h_.data() + size_t(row) * size_t(hidden);
  const int width = widths[size_t(embed_index_)];
  if (width == 16) {
    const Segment& e = embed_->segments[0];
    kernels_.widen(static_cast<const uint8_t*>(e.data) + size_t(token) * size_t(hidden) * size_t(dtype_bytes(e.dtype)), e.dtype,
                   hidden, h);
  } else {
    unpack_row(embed_->planes, token, width == 8 ? 8 : 4, hidden, h);
  }
  if (config_.embedding_scale != 1.0f)
    for (int i = 0; i < hidden; ++i) h[i] *= config_.embedding_scale;
  if (config_.learned_position) kernels_.add(h, find("pos_embed") + size_t(position) * size_t(hidden), hidden);
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

void Transformer::load(Buffers& b, int slot, const float* x, int cols, int width) {
  if (width == 16) {
    float* to = b.x.data() + size_t(slot) * size_t(b.ld);
    if (to != x) std::memcpy(to, x, size_t(cols) * sizeof(float));
  } else {
    kernels_.quantize(x, cols, b.view(round_up(cols, kSuperblock)).from(slot));
  }
}

void Transformer::prepare(Buffers& b, int slot, const Norm& n, const float* x, int width) {
  float* to = b.x.data() + size_t(slot) * size_t(b.ld);
  norm(n, x, to);
  load(b, slot, to, config_.hidden_size, width);
}

// y points at the row of tile_begin.
void Transformer::product(const Matrix& m, int width, int tile_begin, int tile_end, Buffers& b, int rows, float* y, int ld_y,
                          const float* bias, bool add) const {
  const int tiles = tile_end - tile_begin;
  if (bias) bias += size_t(tile_begin) * kTileRows;
  if (width != 16) {
    const PlaneMatrix w = slice(m.planes, tile_begin, tiles);
    (width == 8 ? kernels_.matmul8 : kernels_.matmul4)(w, 0, tiles, b.view(m.padded_cols()), rows, y, ld_y, bias, add);
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

void Transformer::project(int thread, const Matrix& m, int width, int tile_begin, int tile_end, Buffers& b, int rows, float* y,
                          int ld_y, const float* bias, bool add) {
  const size_t tile_bytes = std::max<size_t>(1, m.bytes(width) / size_t(m.tiles()));
  const int step = int(std::max<size_t>(1, kChunkBytes / tile_bytes)), tiles = tile_end - tile_begin;
  pool_.claim(thread, (tiles + step - 1) / step, [&](int chunk) {
    const int begin = tile_begin + chunk * step, end = std::min(tile_end, begin + step);
    product(m, width, begin, end, b, rows, y + size_t(begin) * kTileRows, ld_y, bias, add);
  });
}

// ff = act(gate) * up, a chunk of columns at a time; where there is no gate, act(up).
void Transformer::feed(int thread, const Layer& l, int width, Buffers& b, int rows) {
  const Matrix& m = *l.up;
  const int tiles = ld_ff_ / kTileRows;
  const size_t tile_bytes = std::max<size_t>(1, m.bytes(width) / size_t(m.tiles()));
  const int step = int(std::max<size_t>(1, kChunkBytes / 2 / tile_bytes));
  pool_.claim(thread, (tiles + step - 1) / step, [&](int chunk) {
    const int begin = chunk * step, end = std::min(tiles, begin + step), ld = (end - begin) * kTileRows;
    float* ff = ff_.data() + size_t(begin) * kTileRows;
    product(m, width, begin, end, b, rows, ff, ld_ff_, l.up_bias, false);
    std::vector<float>& scratch = own_[size_t(thread)].scratch;
    if (config_.gated) {
      if (scratch.size() < size_t(rows) * size_t(ld)) scratch.resize(size_t(rows) * size_t(ld));
      product(m, width, tiles + begin, tiles + end, b, rows, scratch.data(), ld, l.up_bias, false);
    }
    const int valid = std::min(ld, config_.intermediate_size - begin * kTileRows);
    for (int r = 0; r < rows; ++r) {
      float* row = ff + size_t(r) * size_t(ld_ff_);
      kernels_.activate(config_.activation, row, config_.gated ? scratch.data() + size_t(r) * size_t(ld) : nullptr, valid, row);
    }
  });
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
  t.out = attn_.data() + (size_t(item.split) * total + size_t(item.first_row)) * size_t(ld_attn_) + kv_head * group * hd;
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
  const size_t need = size_t(attention_scratch_floats(item.count, group, hd)) + size_t(item.count) * size_t(group) * 2;
  if (scratch.size() < need) scratch.resize(need);
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
      const float* from = attn_.data() + (size_t(s) * total + size_t(row)) * size_t(ld_attn_) + h * hd;
      sum += state(s)[1] * factor;
      for (int d = 0; d < hd; ++d) to[d] += from[d] * factor;
    }
    const float inverse = 1.0f / sum;
    for (int d = 0; d < hd; ++d) to[d] *= inverse;
  }
}

void Transformer::forward(const std::vector<SequenceRows>& sequences, const Widths& widths) {
  const Config& c = config_;
  sequences_ = sequences;
  rows_.clear(), logit_rows_.clear(), items_.clear();
  max_splits_ = 1;
  cache_bytes_read_ = 0;
  const size_t position_bytes = block_bytes() / kBlockTokens;
  for (int s = 0; s < int(sequences_.size()); ++s) {
    const SequenceRows& seq = sequences_[size_t(s)];
    const int first = int(rows_.size()), last = seq.start + seq.count;
    for (int i = 0; i < seq.count; ++i) {
      rows_.push_back({s, seq.start + i});
      if (seq.all_logits || (seq.last_logits && i == seq.count - 1)) logit_rows_.push_back(first + i);
    }
    max_splits_ = std::max(max_splits_, (last - 1) / kSplit + 1);
    cache_bytes_read_ += size_t(last) * position_bytes;
    for (int i = 0; i < seq.count; i += kQueryTile) {
      const int count = std::min(kQueryTile, seq.count - i);
      for (int split = 0; split * kSplit < seq.start + i + count; ++split) items_.push_back({s, first + i, count, split});
    }
  }
  const size_t n = rows_.size(), hidden = size_t(c.hidden_size);
  const auto grow = [](std::vector<float>& v, size_t size) { if (v.size() < size) v.resize(size); };
  const int widest = round_up(std::max({c.hidden_size, c.num_heads * c.head_dim, ld_ff_}), kSuperblock);
  grow(h_, n * hidden), grow(tmp_, n * size_t(round_up(c.hidden_size, kTileRows))), grow(qkv_, n * size_t(ld_qkv_)), grow(ff_, n * size_t(ld_ff_));
  grow(attn_, size_t(max_splits_) * n * size_t(ld_attn_)), grow(max_sum_, size_t(max_splits_) * n * size_t(c.num_heads) * 2);
  grow(cos_sin_, n * c.ropes.size() * size_t(c.head_dim));
  shared_.reserve(int(n), widest);
  for (Own& own : own_) own.buffers.reserve(1, widest);
  ld_logits_ = round_up(c.vocab_size, kTileRows);
  stat_chunks_ = (ld_logits_ / kTileRows + kStatTiles - 1) / kStatTiles;
  grow(logits_, logit_rows_.size() * size_t(ld_logits_));
  if (stats_.size() < logit_rows_.size() * size_t(stat_chunks_)) stats_.resize(logit_rows_.size() * size_t(stat_chunks_));
  pool_.run([&](int thread) { run(thread, widths); });
}

// The whole step, on every thread. A lone row is prepared by each thread for itself, which saves the barriers that
// dividing the work would cost: five a layer stay.
void Transformer::run(int thread, const Widths& widths) {
  const Config& c = config_;
  const int n = int(rows_.size()), hidden = c.hidden_size;
  const int ld_h = hidden;
  const bool lone = n == 1 && !c.post_norms && hidden % kTileRows == 0;
  Buffers& b = lone ? own_[size_t(thread)].buffers : shared_;
  const auto barrier = [&] { pool_.barrier(thread); };
  const auto each_row = [&](auto&& body) {  // every row once; a lone row once a thread
    if (lone) body(0);
    else pool_.claim(thread, n, body), barrier();
  };
  const auto h = [&](int row) { return h_.data() + size_t(row) * size_t(ld_h); };
  const int ld_tmp = round_up(hidden, kTileRows);
  const bool direct = !c.post_norms && hidden % kTileRows == 0;  // products add to h at once
  const auto settle = [&](int row, const Norm& post) {           // h += post_norm(tmp)
    if (direct) return;
    float* out = tmp_.data() + size_t(row) * size_t(ld_tmp);
    if (c.post_norms) norm(post, out, out);
    kernels_.add(h(row), out, hidden);
  };

  pool_.claim(thread, n, [&](int row) { embed(row, widths); });
  barrier();
  for (int i = 0; i < c.num_layers; ++i) {
    const Layer& l = layers_[size_t(i)];
    const int qkv_width = widths[size_t(l.width_index)], o_width = widths[size_t(l.width_index + 1)],
              up_width = widths[size_t(l.width_index + 2)], down_width = widths[size_t(l.width_index + 3)];
    const bool attends = qkv_width != 0;
    // A skipped attention still writes its keys and values, at the hi width: any gear can read any cache.
    const int width = attends ? qkv_width : 4;
    each_row([&](int row) { prepare(b, row, l.attn_norm, h(row), width); });
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
        load(b, row, merged, c.num_heads * c.head_dim, o_width);
      });
      project(thread, *l.o, o_width, 0, l.o->tiles(), b, n, direct ? h_.data() : tmp_.data(), direct ? ld_h : ld_tmp, l.o_bias, direct);
      barrier();
    }
    if (up_width != 0) {
      each_row([&](int row) {
        if (attends) settle(row, l.post_attn_norm);
        prepare(b, row, l.ffn_norm, h(row), up_width);
      });
      feed(thread, l, up_width, b, n);
      barrier();
      each_row([&](int row) { load(b, row, ff_.data() + size_t(row) * size_t(ld_ff_), c.intermediate_size, down_width); });
      project(thread, *l.down, down_width, 0, l.down->tiles(), b, n, direct ? h_.data() : tmp_.data(), direct ? ld_h : ld_tmp, l.down_bias, direct);
      barrier();
      if (!direct) each_row([&](int row) { settle(row, l.post_ffn_norm); });
    } else if (attends && !direct) {
      each_row([&](int row) { settle(row, l.post_attn_norm); });
    }
  }

  const int count = int(logit_rows_.size());
  if (count == 0) return;
  const int head_width = widths[size_t(head_index_)];
  if (lone) {
    prepare(b, 0, final_norm_, h(0), head_width);
  } else {
    pool_.claim(thread, count, [&](int k) { prepare(b, k, final_norm_, h(logit_rows_[size_t(k)]), head_width); });
    barrier();
  }
  const int tiles = ld_logits_ / kTileRows;
  pool_.claim(thread, stat_chunks_, [&](int chunk) {
    const int begin = chunk * kStatTiles, end = std::min(tiles, begin + kStatTiles), first = begin * kTileRows;
    product(*head_, head_width, begin, end, b, count, logits_.data() + first, ld_logits_, head_bias_, false);
    const int valid = std::min(end * kTileRows, c.vocab_size) - first;
    for (int k = 0; k < count; ++k) {
      float* row = logits_.data() + size_t(k) * size_t(ld_logits_) + first;
      if (c.final_softcap > 0.0f) kernels_.softcap(row, valid, c.final_softcap);
      kernels_.logit_stats(row, valid, first, &stats_[size_t(k) * size_t(stat_chunks_) + size_t(chunk)]);
    }
  });
}

}  // namespace onesec
