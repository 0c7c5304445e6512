// The decoder: weights, cache and forward(). Knows kernels and the pool; nothing of Python, text or time budgets.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "driver.h"
#include "kernels.h"
#include "memory.h"
#include "moments.h"
#include "sampler.h"
#include "thread_pool.h"

namespace onesec {

constexpr int kLettingRows = 16;  // from here on mapped pages of the 16-bit width are let go: faults are little beside the sums
constexpr int kSplit = 512;  // positions an attention task covers: fixed, so bits depend on positions alone

struct LayerConfig { int window = 0, rope = 0; };
struct Rope { std::vector<float> inv_freq; float attention_factor = 1.0f; };

struct Config {  // the same fields as onesec.model.config.ModelConfig
  int vocab_size = 0, hidden_size = 0, num_layers = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0,
      intermediate_size = 0, context_length = 0;
  bool rms = true, gated = true, learned_position = false, qk_norm = false, post_norms = false, tie_embeddings = false;
  float norm_eps = 1e-6f, attention_scale = 1.0f, attention_softcap = 0.0f, final_softcap = 0.0f, embedding_scale = 1.0f;
  Activation activation = Activation::silu;
  std::vector<Rope> ropes;
  std::vector<LayerConfig> layers;
};

// Part of a matrix as it lies in the checkpoint: [rows][cols], row-major.
struct Segment {
  const void* data = nullptr;
  DType dtype = DType::f32;
  int rows = 0;
  bool mapped = false;  // lies in a file, which gives pages back that were let go

  // Lets the system drop the pages of some rows.
  void let_go(int row, int count, int cols) const;
};

struct Matrix {
  std::vector<int> segment_rows;  // unpadded; each begins at a multiple of kTileRows
  int rows = 0, cols = 0;         // rows padded to kTileRows a segment; cols unpadded
  PlaneMatrix planes;
  bool mapped = false;            // the planes lie in a file
  std::vector<Segment> segments;  // the 16-bit width, empty where there is none

  int tiles() const { return rows / kTileRows; }
  int padded_cols() const { return round_up(cols, kSuperblock); }
  size_t hi_bytes() const { return size_t(tiles()) * size_t(padded_cols() / kSuperblock) * kHiBytes; }
  size_t lo_bytes() const { return size_t(tiles()) * size_t(padded_cols() / kSuperblock) * kLoBytes; }
  size_t source_bytes() const;
  size_t bytes(int width) const;
};

// Bits that a step spends on a matrix: of its weights (0 skips it, 4, 8, or 16 as in the checkpoint), and of the activations
// that meet its planes: 8, or 16, which are two rows of 8 bits one after the other.
struct Width {
  uint8_t weights = 0, activations = 8;
  bool fine() const { return weights != 16 && activations == 16; }
};
using Widths = std::vector<Width>;  // of every matrix, in the order of Transformer::matrix_names()

struct SequenceRows {
  const int32_t* tokens = nullptr;
  int count = 0;
  int start = 0;                      // position of tokens[0]
  const int32_t* block_table = nullptr;
  bool all_logits = false;            // of every row; else of the last where `last_logits`
  bool last_logits = true;
};

struct StepKind {
  bool prompt = false;       // the rows are prompt chunks, which have an arithmetic of their own where the kernels have one
  bool argmax_only = false;  // nothing but the argmax and its logit need be right: a head of width 8 reads what finding them takes
  bool once = false;         // the weights are not read again soon: mapped pages are let go, however few the rows
};

class Transformer {
 public:
  Transformer(Config config, int threads, const char* isa);

  const Config& config() const { return config_; }
  const Kernels& kernels() const { return kernels_; }
  ThreadPool& pool() { return pool_; }
  // Runs calls that somebody does not wait out. Whoever computes, packs or watches while a call may go on waits for it
  // first; what is set before the first call does not, nor do sizes, planes that are only read, and ThreadPool::use.
  Driver& driver() { return driver_; }
  const std::vector<std::string>& matrix_names() const { return names_; }
  Matrix& matrix(const std::string& name);
  void set_vector(const std::string& name, std::vector<float> values);

  void reserve_planes();                         // one arena a plane, 2 MiB pages, for every matrix
  // Packs the segments, or packs them anew; false where a value is not finite. Segments are not kept.
  // gram: what the matrix reads, [blocks][size][size] as in pack.h; may be null.
  bool pack(Matrix& m, const std::vector<Segment>& segments, const float* gram = nullptr);
  void fill_random(Matrix& m, uint64_t seed, float deviation);
  void copy_planes(Matrix& m, const uint8_t* hi, const uint8_t* lo, const float* row_scale);  // lo: null for hi alone
  void map_planes(Matrix& m, const uint8_t* hi, const uint8_t* lo, const float* row_scale);
  void finish();                                 // every weight is set: resolve pointers

  void allocate_cache(int num_blocks, DType dtype);
  int num_blocks() const { return num_blocks_; }
  size_t block_bytes(DType dtype) const;         // all layers and heads, keys and values

  size_t weight_bytes(const Widths& widths) const;  // that one decode step reads

  // While watched, forward() sums up what every matrix reads. Watching begins with empty sums and ends with none.
  void watch(bool on);
  const Moments& moments(const std::string& name) const;  // empty of what was never read: an untied embedding

  // Runs all rows; afterwards logits(i) is the i-th requested row's, distribution(i) its statistics.
  void forward(const std::vector<SequenceRows>& sequences, const Widths& widths, StepKind kind = {});
  int num_logits() const { return int(logit_rows_.size()); }
  float* logits(int i) { return logits_.data() + size_t(i) * size_t(ld_logits_); }
  Distribution distribution(int row) const;
  bool finite(int row) const;  // distribution(row).finite
  // Sum over a sequence's rows of what the output head reads, or would read, of them: [hidden_size].
  std::vector<float> hidden_sum(int sequence) const;
  size_t cache_bytes_read() const { return cache_bytes_read_; }
  size_t weight_bytes_read() const { return weight_bytes_read_; }
  std::span<const float> head_residual() const { return {residual_bounds_, residual_bounds_ ? size_t(head_->rows) : 0}; }

 private:
  struct Norm { const float* weight = nullptr; const float* bias = nullptr; };
  struct Layer {
    Matrix *qkv = nullptr, *o = nullptr, *up = nullptr, *down = nullptr;  // up: gate and up where gated
    Norm attn_norm, ffn_norm, post_attn_norm, post_ffn_norm;
    const float *qkv_bias = nullptr, *o_bias = nullptr, *up_bias = nullptr, *down_bias = nullptr, *q_norm = nullptr,
                *k_norm = nullptr;
    int width_index = 0;  // of qkv; o, up, down follow
  };
  struct Row { int sequence, position; };
  struct AttentionItem { int sequence, first_row, count, split; };
  struct Rounded {                    // rows of activations as planes meet them
    std::vector<int8_t> q;
    std::vector<float> scale, offset;
    std::vector<int32_t> residual;
    std::vector<CacheLine> lines;     // in place of the others for prompts
    void reserve(int rows, int cols, bool prompt);
    QuantRows view(int cols);
    PromptRows prompt_view(int cols);
  };
  struct Buffers {                    // activations of one matrix product, shared or a thread's own
    std::vector<float> x;             // [rows][ld]
    Rounded rounded, rest;            // rest: what `rounded` leaves of x, where activations are fine
    int ld = 0;
    bool prompt = false;
    void reserve(int rows, int cols, int float_cols, bool for_prompt, bool fine);
  };

  void add_matrix(const std::string& name, std::vector<int> segment_rows, int cols);
  std::vector<float> padded_bias(const Matrix& m, const std::vector<float>& bias) const;
  const float* find(const std::string& name) const;
  void bound_residuals();
  void norm(const Norm& n, const float* x, float* out) const;
  void embed(int row, const Widths& widths);
  void prepare(int thread, Buffers& b, int slot, const Norm& n, const float* x, Width width);  // norm, and round
  void load(int thread, Buffers& b, int slot, const float* x, int cols, Width width);          // round as it is
  bool meets_rest(const Buffers& b, Width width) const;
  bool direct() const { return !config_.post_norms && config_.hidden_size % kTileRows == 0; }  // products add to h at once
  int claimed_tiles(const Matrix& m, Width width, bool prompt, size_t bytes) const;
  void plane_product(int thread, const Matrix& m, int bits, int tile_begin, int tile_end, Rounded& x, bool prompt, int rows,
                     float* y, int ld_y, const float* bias, bool add);
  void product(int thread, const Matrix& m, Width width, int tile_begin, int tile_end, Buffers& b, int rows, float* y, int ld_y,
               const float* bias, bool add);
  void project(int thread, const Matrix& m, Width width, int tile_begin, int tile_end, Buffers& b, int rows, float* y,
               int ld_y, const float* bias, bool add);
  std::pair<int, int> feed_runs(const Matrix& m, Width width, bool prompt, int rows) const;
  size_t scratch_floats(int rows, const Widths& widths, bool prompt) const;
  size_t attention_floats(int queries, int group) const;
  void feed(int thread, const Layer& l, Width width, Buffers& b, int rows);
  void let_go(const Matrix& m, Width width, int tile_begin, int tile_end) const;
  void rotate_and_store(int layer, int row, int kv_head, bool with_queries);
  void attend(int thread, int layer, const AttentionItem& item, int kv_head);
  void merge(int row, float* out);
  void see(int thread, int matrix, const float* x, int ld, int rows);  // matrix: index of matrix_names()
  void run(int thread, const Widths& widths);
  int head_chunks() const;
  int head_rows(int begin, int end) const;
  void head(int thread, Width width, Buffers& b);  // b: the rows of logit_rows_, normalised
  void coarse_head(int thread, bool fine, Buffers& b);

  Config config_;
  const Kernels& kernels_;
  ThreadPool pool_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, Matrix> matrices_;
  std::unordered_map<std::string, std::vector<float>> vectors_;
  std::vector<Layer> layers_;
  Matrix *embed_ = nullptr, *head_ = nullptr;
  int embed_index_ = 0, head_index_ = 0;
  Norm final_norm_;
  const float *head_bias_ = nullptr, *residual_bounds_ = nullptr;  // residual_bounds_: one a row of the head
  const float* positions_ = nullptr;                               // learned ones: [context][hidden]
  Arena hi_arena_, lo_arena_, cache_;
  std::vector<std::vector<float>> row_scales_;

  std::vector<Moments> moments_;  // of every matrix while watched, else none
  int num_blocks_ = 0;
  DType cache_dtype_ = DType::f16;
  std::vector<float> cache_scales_;
  size_t cache_bytes_read_ = 0, weight_bytes_read_ = 0;

  // Of the step in hand.
  std::vector<SequenceRows> sequences_;
  std::vector<Row> rows_;
  std::vector<int> logit_rows_;
  std::vector<AttentionItem> items_;
  int max_splits_ = 1, k_offset_ = 0, v_offset_ = 0, ld_qkv_ = 0, ld_ff_ = 0, ld_logits_ = 0, ld_attn_ = 0;
  bool coarse_head_ = false, once_ = false;
  std::vector<float> h_, tmp_, qkv_, max_sum_, ff_, cos_sin_, logits_;
  Arena attn_arena_;  // neither copied nor filled where it grows: for long prompts it is the largest of all
  float* attn_ = nullptr;  // [splits][rows][ld_attn]
  std::vector<LogitStats> stats_;   // [logit rows][chunks of the head]
  std::vector<float> reach_;        // [tiles of the head]: what a logit at full width may be at most
  float least_ = 0.0f;              // what the largest one is at least
  Buffers shared_, head_input_;      // head_input_: of prompt chunks, whose last rows meet the head in the decode arithmetic
  struct alignas(64) Own { Buffers buffers; std::vector<float> scratch, remainder; std::vector<int> wanted_tiles; std::vector<CacheLine> lines; };
  std::vector<Own> own_;

  Driver driver_;  // the last member: its job ends before anything goes
};

}  // namespace onesec
