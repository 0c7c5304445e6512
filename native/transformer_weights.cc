// The decoder's weights: sizes, packing, copies and maps of the planes, and the pointers that a step follows.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "pack.h"
#include "transformer.h"

namespace onesec {
namespace {

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

void Segment::let_go(int row, int count, int cols) const {
  if (!mapped) return;
  const size_t row_bytes = size_t(cols) * size_t(dtype_bytes(dtype)), page = size_t(sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(data) + size_t(row) * row_bytes) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(data) + size_t(row + count) * row_bytes;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

size_t Matrix::bytes(int width) const {
  if (width == 0) return 0;
  if (width == 16) return source_bytes();
  return hi_bytes() + size_t(rows) * sizeof(float) + (width == 8 ? lo_bytes() : 0);
}

void Transformer::reserve_planes() {
  size_t hi = 0, lo = 0;
  for (const auto& name : names_)  // whole cache lines each: the arena adds no padding between them
    hi += matrices_.at(name).hi_bytes(), lo += matrices_.at(name).lo_bytes();
  hi_arena_ = Arena(hi);
  lo_arena_ = Arena(lo);
}

bool Transformer::pack(Matrix& m, const std::vector<Segment>& segments, const float* gram) {
  if (!m.planes.hi) {
    row_scales_.emplace_back(size_t(m.rows));
    m.planes = {hi_arena_.take(m.hi_bytes()), lo_arena_.take(m.lo_bytes()), row_scales_.back().data(), m.rows, m.padded_cols()};
  }
  const Gram inputs{gram, Gram::block_size(m.cols)};
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
      else pack_tile(kernels_, wide.data(), count, m.cols, m.cols, inputs, const_cast<uint8_t*>(m.planes.hi_tile(tile)),
                     const_cast<uint8_t*>(m.planes.lo_tile(tile)), const_cast<float*>(m.planes.row_scale) + size_t(tile) * kTileRows);
    });
  });
  if (&m == head_) bound_residuals();
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
  uint8_t* to_lo = lo ? lo_arena_.take(m.lo_bytes()) : nullptr;
  row_scales_.emplace_back(row_scale, row_scale + m.rows);
  m.planes = {to_hi, to_lo, row_scales_.back().data(), m.rows, m.padded_cols()};
  constexpr size_t piece = size_t(1) << 20;
  const size_t hi_bytes = m.hi_bytes(), lo_bytes = lo ? m.lo_bytes() : 0;
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
  m.mapped = true;
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
  positions_ = find("pos_embed");
  final_norm_ = {find("final_norm"), find("final_norm_bias")};
  head_bias_ = pad("head_bias", *head_);
  // Of planes in a file the bounds come with the file: computing them here would read all of lo.
  if (vectors_["head_residual"].empty() && head_->planes.lo && !head_->mapped) bound_residuals();
  else if (vectors_["head_residual"].size() == size_t(head_->rows)) residual_bounds_ = vectors_["head_residual"].data();
}

void Transformer::bound_residuals() {
  std::vector<float>& bounds = vectors_["head_residual"];
  bounds.resize(size_t(head_->rows));
  pool_.run([&](int thread) {
    pool_.claim(thread, head_->tiles(), [&](int tile) { residual_bounds(head_->planes, tile, bounds.data() + size_t(tile) * kTileRows); });
  });
  residual_bounds_ = bounds.data();
}

size_t Transformer::weight_bytes(const Widths& widths) const {
  size_t total = 0;
  for (size_t i = 0; i < names_.size(); ++i) {
    if (names_[i] == "embed" && !config_.tie_embeddings) continue;  // one row of it
    const Matrix& m = matrices_.at(names_[i]);
    const int width = widths[i].weights;
    if (width == 0 && names_[i].ends_with(".qkv")) {  // keys and values are still written
      const double part = double(m.rows - k_offset_) / m.rows;
      total += size_t(part * double(m.bytes(4)));
      continue;
    }
    total += m.bytes(width);
  }
  return total;
}

}  // namespace onesec
