// A warp's weights on their way from memory: of every tile that its block does, the warp's slice along K, stage by stage
// through a ring in shared memory that only this warp touches. The ring runs on across tiles.
#pragma once
#include "finish.h"

namespace onesec::cuda {

// A Source says where a stage of a tile's slice lies: kStageBytes, stages(), copy(to, tile, stage, lane); and which groups of 32
// columns the slice has: first_group(), groups().
template <class Source, int Depth>
class Ring {
 public:
  static constexpr int kBytes = Depth * Source::kStageBytes;

  __device__ Ring(const Product& p, const Source& source, uint8_t* memory, int lane)
      : source_(source), next_(p), memory_(memory), lane_(lane) {
#pragma unroll
    for (int slot = 0; slot < Depth; ++slot) fill(p, slot);
  }

  // The oldest stage, once it is there; read by the whole warp until release().
  __device__ const uint8_t* acquire() {
    wait_copies<Depth - 1>();
    __syncwarp();
    return memory_ + slot_ * Source::kStageBytes;
  }
  __device__ void release(const Product& p) {
    __syncwarp();
    fill(p, slot_);
    slot_ = slot_ + 1 == Depth ? 0 : slot_ + 1;
  }

 private:
  __device__ void fill(const Product& p, int slot) {
    if (!next_.done(p) && source_.stages() > 0) {
      const int tile = next_.tile(p);
      if (stage_ == 0 && threadIdx.x < 32) touch_ends(p, tile, lane_);
      source_.copy(shared_address(memory_ + slot * Source::kStageBytes), tile, stage_, lane_);
      if (++stage_ == source_.stages()) stage_ = 0, next_.advance(p);
    }
    commit_copies();  // also where there is nothing left, so that the count of groups stays the count of stages
  }

  Source source_;
  Walk next_;  // the tile of the next stage
  uint8_t* memory_;
  int lane_;
  int stage_ = 0, slot_ = 0;
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
  const void* activations = p.prepared;
  if (Kernel::kOwn && p.x) {
    touch_norm(p);
    wait_for_previous();
    activations = &results + 1;
    Kernel::Form::prepare(p, 0, p.rows, &results + 1, results.scratch);
    __syncthreads();
  } else {
    wait_for_previous();
    Kernel::Form::touch_groups(p, source.first_group(), source.groups(), lane);
  }
  int place = 0;
  for (Walk at(p); !at.done(p); at.advance(p), place ^= 1) {
    const int tile = at.tile(p);
    const Ends ends = begin_tile<columns>(p, tile);
    typename Kernel::Sums sums;
    for (int stage = 0; stage < source.stages(); ++stage) {
      sums.add(ring.acquire(), source, stage, p, activations, lane);
      ring.release(p);
    }
    float totals[Kernel::kRowTiles][4];
    sums.total(totals);
    leave_sums<Kernel::kColumns>(totals, results.partial[place][warp], lane);
    __syncthreads();
    finish_tile(p, ends, results, place, tile, at.k);
    if (p.feed && (at.shared(p) ? gather_unit(p, results, at) : at.k + 1 == tiles_of_unit(p))) {
      __syncthreads();
      finish_feed<typename Kernel::Form>(p, results, at.unit, warp, lane);
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
