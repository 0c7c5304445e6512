// A warp's weights on their way from memory: of every tile that its block does, the warp's slice along K, stage by stage
// through a ring in shared memory that only this warp touches. The ring runs on across tiles.
#pragma once
#include "finish.h"

namespace onesec::cuda {

// Which stage comes: walks the block's units, their tiles, a slice's stages.
struct Cursor {
  int unit, k = 0, stage = 0;

  __device__ void advance(const Unit& u, int stages) {
    if (++stage < stages) return;
    stage = 0;
    if (++k < u.tiles) return;
    k = 0;
    unit += gridDim.x;
  }
};

// A Source says where a stage of a tile's slice lies: kStageBytes, stages(), copy(to, tile, stage, lane).
template <class Source, int Depth>
class Ring {
 public:
  static constexpr int kBytes = Depth * Source::kStageBytes;

  __device__ Ring(const Product& p, const Source& source, uint8_t* memory, int lane)
      : source_(source), unit_(p), units_(p.units), memory_(memory), lane_(lane), next_{static_cast<int>(blockIdx.x)} {
#pragma unroll
    for (int slot = 0; slot < Depth; ++slot) fill(slot);
  }

  // The oldest stage, once it is there; read by the whole warp until release().
  __device__ const uint8_t* acquire() {
    wait_copies<Depth - 1>();
    __syncwarp();
    return memory_ + slot_ * Source::kStageBytes;
  }
  __device__ void release() {
    __syncwarp();
    fill(slot_);
    slot_ = slot_ + 1 == Depth ? 0 : slot_ + 1;
  }

 private:
  __device__ void fill(int slot) {
    if (next_.unit < units_ && source_.stages() > 0) {
      source_.copy(shared_address(memory_ + slot * Source::kStageBytes), unit_.tile(next_.unit, next_.k), next_.stage, lane_);
      next_.advance(unit_, source_.stages());
    }
    commit_copies();  // also where there is nothing left, so that the count of groups stays the count of stages
  }

  Source source_;
  Unit unit_;
  int units_;
  uint8_t* memory_;
  int lane_;
  Cursor next_;
  int slot_ = 0;
};

// A product's block, whatever the weights are: Kernel has Source, Form, Sums, kDepth, kRowTiles, kColumns (of a row tile).
template <class Kernel>
ONESEC_DEVICE void run_product(const Product& p, uint8_t* memory) {
  using Source = typename Kernel::Source;
  using Stream = Ring<Source, Kernel::kDepth>;
  constexpr int columns = Kernel::kColumns * Kernel::kRowTiles;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  auto& results = *reinterpret_cast<Results<columns>*>(memory + kWarps * Stream::kBytes);
  const Source source(p, warp);
  Stream ring(p, source, memory + warp * Stream::kBytes, lane);  // weights are no kernel's result: they need no wait
  launch_dependents();
  wait_for_previous();
  const void* activations = p.prepared;
  if constexpr (Kernel::kOwn) {
    if (p.x) {
      activations = &results + 1;
      Kernel::Form::prepare(p, 0, p.rows, &results + 1, results.scratch);
      __syncthreads();
    }
  }
  const Unit unit(p);
  int place = 0;
  for (int u = blockIdx.x; u < p.units; u += gridDim.x) {
    for (int k = 0; k < unit.tiles; ++k, place ^= 1) {
      const Ends ends = begin_tile<columns>(p, unit.tile(u, k));
      typename Kernel::Sums sums;
      for (int stage = 0; stage < source.stages(); ++stage) {
        sums.add(ring.acquire(), source, stage, p, activations, lane);
        ring.release();
      }
      float totals[Kernel::kRowTiles][4];
      sums.total(totals);
      leave_sums<Kernel::kColumns>(totals, results.partial[place][warp], lane);
      __syncthreads();
      finish_tile(p, ends, results, place, unit.tile(u, k), k);
    }
    if (p.feed) {
      __syncthreads();
      finish_feed<typename Kernel::Form>(p, results, u, warp, lane);
    }
  }
}

template <class Kernel>
size_t shared_bytes(const Product& p) {
  constexpr int columns = Kernel::kColumns * Kernel::kRowTiles;
  const size_t own = p.x ? Kernel::Form::bytes(p) : 0;
  return kWarps * size_t(Ring<typename Kernel::Source, Kernel::kDepth>::kBytes) + sizeof(Results<columns>) + own;
}

}  // namespace onesec::cuda
