// The whole kernel interface: some free functions over plain views, one table an instruction set.
// Knows nothing of threads, layers or memory owners. All arithmetic is deterministic within one table:
// a row's bits do not depend on the rows beside it.
#pragma once
#include <cstdint>

#include "planes.h"

namespace onesec {

enum class DType : int { f32 = 0, f16 = 1, bf16 = 2, i8 = 3 };
inline int dtype_bytes(DType t) { return t == DType::f32 ? 4 : t == DType::i8 ? 1 : 2; }

enum class Activation : int { silu = 0, gelu_tanh = 1, gelu = 2, relu = 3 };

// One sequence's keys or values of one kv head, one block of kBlockTokens positions:
//   keys   [head_dim][kBlockTokens]   values [kBlockTokens][head_dim]
//   for i8, one float scale a position.
constexpr int kBlockTokens = 32;

// Attention of `queries` consecutive query tokens x `heads` query heads against one kv head.
struct AttentionTask {
  const float* q;          // [queries][ld_q], the heads of this kv head side by side (heads * head_dim)
  int ld_q;
  float* out;              // [queries][ld_out]: unnormalised sums
  int ld_out;
  float* max_sum;          // [queries][heads][2]: running maximum and sum, for merging
  int queries, heads, head_dim;
  int first_position;      // position of query 0
  int window;              // 0 = all earlier positions
  int begin, end;          // positions of this split: [begin, end), begin a multiple of kBlockTokens
  const int32_t* block_table;  // of the sequence
  const uint8_t* keys;     // pool base for this layer and kv head
  const uint8_t* values;
  const float* key_scales;   // i8 only: [block][kBlockTokens] base for this layer and kv head
  const float* value_scales;
  int64_t block_stride;       // bytes from block to block in keys and values
  int64_t scale_stride;       // floats from block to block in the scales
  DType dtype;
  float scale, softcap;
  float* scratch;          // at least attention_scratch_floats()
};

inline int attention_scratch_floats(int queries, int heads, int head_dim) {
  return queries * heads * (kBlockTokens + 2) + 2 * kBlockTokens * head_dim;
}

// Statistics of a run of logits; runs merge in order.
struct LogitStats {
  float max, second;  // two largest (second = -inf in a run of one)
  int32_t argmax;
  float sum_exp;      // sum exp(x - max)
  float sum_xexp;     // sum (x - max) exp(x - max)
  bool finite;        // all of them
};

// Of a group of 32 weights: w = scale * hi - 8 * minimum, in units of the row (see planes.h).
struct Grid { int scale, minimum; };

// What the error e of a group's hi codes costs: e.e, or e.(G e) + 2 e.pull with the Gram matrix G of the group's inputs
// and the pull of the errors elsewhere in the row.
struct GroupTask {
  const float* w;               // [32], in units of the row
  const float* gram = nullptr;  // [32][ld]; null: e.e
  int ld = 0;
  const float* pull = nullptr;  // [32]
};

// Products of many rows, weights opened a panel at a time. Either in a second arithmetic, for prompt chunks alone (weights
// and activations rounded to bf16, sums in float along the columns), or with the bits of Kernels::matmul4 and matmul8, for
// any batch that is large enough. A row's bits depend neither on the chunking nor on the rows beside it.
constexpr int kPromptPanelTiles = 8;      // weight tiles opened together,
constexpr int kPromptPanelColumns = 256;  // this many columns of them at a time: 64 KiB, half of a small L2 with the sums
struct PromptKernels {
  void (*round)(const float* x, int cols, int row, const PromptRows& out);  // one row
  // As Kernels::matmul4; scratch holds prompt_scratch_lines(rows).
  void (*matmul4)(const PlaneMatrix& w, int tile_begin, int tile_end, const PromptRows& x, int rows, float* y, int ld_y,
                  const float* bias, bool add, CacheLine* scratch);
  void (*matmul8)(const PlaneMatrix& w, int tile_begin, int tile_end, const PromptRows& x, int rows, float* y, int ld_y,
                  const float* bias, bool add, CacheLine* scratch);
  bool decode_bits;
};
constexpr int kManyRows = 64;  // from here on opening a panel pays
inline size_t prompt_scratch_lines(int rows) {
  return size_t(kPromptPanelTiles) * size_t(kPromptPanelColumns / 2 + round_up(rows, kTileRows));
}

struct Kernels {
  const char* name;
  // y[m][row0..] (=|+=) W x + bias for tiles [tile_begin, tile_end); y points at row 0 of the matrix.
  void (*matmul4)(const PlaneMatrix& w, int tile_begin, int tile_end, const QuantRows& x, int rows, float* y, int ld_y,
                  const float* bias, bool add);
  void (*matmul8)(const PlaneMatrix& w, int tile_begin, int tile_end, const QuantRows& x, int rows, float* y, int ld_y,
                  const float* bias, bool add);
  // 16-bit width: w [w_rows][cols] in f32/f16/bf16, x [rows][ld_x] float; y[m][r] = dot(w[r], x[m]).
  void (*matmul16)(const void* w, DType dtype, int w_rows, int cols, const float* x, int ld_x, int rows, float* y,
                   int ld_y, const float* bias, bool add);
  void (*quantize)(const float* x, int cols, const QuantRows& out);  // one row
  void (*remainder)(const float* x, int cols, float* out);           // what `quantize` leaves of a row
  void (*rms_norm)(const float* x, const float* weight, float eps, int n, float* out);
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float eps, int n, float* out);
  void (*add)(float* x, const float* y, int n);
  void (*activate)(Activation kind, const float* gate, const float* up, int n, float* out);  // up may be null
  void (*rope)(float* head, const float* cos_sin, int rotary_dim);  // cos_sin: [rotary_dim/2] cos, then sin
  void (*write_keys)(const float* head, int head_dim, DType dtype, int slot, void* block, float* scale);
  void (*write_values)(const float* head, int head_dim, DType dtype, int slot, void* block, float* scale);
  void (*attention)(const AttentionTask& task);
  void (*softcap)(float* x, int n, float cap);
  void (*logit_stats)(const float* x, int n, int first_id, LogitStats* out);
  void (*widen)(const void* in, DType dtype, int n, float* out);  // f32/f16/bf16 to float
  void (*grid_costs)(const GroupTask& task, const Grid* grids, int count, float* costs);
  void (*group_error)(const float* w, Grid grid, float* error);  // of the hi codes, [32] in units of the row
  // sums[q][j - begin] += x[t][i + q] x[t][j] over the rows t, for q = 0..3 and j in [begin, end), a multiple of 16 long
  void (*add_products)(const float* x, int ld_x, int rows, int i, int begin, int end, float* sums, int ld);
  const PromptKernels* prompt = nullptr;  // null where prompt chunks have no arithmetic of their own
};

// The table that this machine (or ONESEC_ISA, one of the names) calls for. Throws std::runtime_error on a
// name that is unknown or that this machine cannot run.
const Kernels& choose_kernels(const char* forced);
// All tables that this machine can run, from the plainest to the fastest, null-terminated.
const Kernels* const* available_kernels();
// What became of the processor's AMX tiles: "absent", "used", or "refused: " and why.
const char* amx_state();

}  // namespace onesec
