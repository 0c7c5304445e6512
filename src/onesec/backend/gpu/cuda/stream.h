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
    const int stages = source_.stages();
    if (!next_.done(p) && stages > 0) {
      source_.copy(shared_address(memory_ + slot * Source::kStageBytes), next_.tile(p), stage_, lane_);
      if (++stage_ == stages) stage_ = 0, next_.advance(p);
    } else {
      const int ahead = (stage_++ * gridDim.x + blockIdx.x) * kWarps + threadIdx.x / 32;
      if (ahead < p.ahead_stages) {
        fetch_ahead(p.ahead + size_t(ahead) * p.ahead_bytes, p.ahead_bytes, lane_);
        if (p.ahead_lo) fetch_ahead(p.ahead_lo + size_t(ahead) * kLoStage, kLoStage, lane_);
      }
    }
    commit_copies();  // also where there is nothing left, so that the count of groups stays the count of stages
  }

  Source source_;
  Walk next_;  // the tile of the next stage
  uint8_t* memory_;
  int lane_;
  int stage_ = 0, slot_ = 0;  // stage_: of the tile; when there is none left, how many were fetched ahead
};

// A product's block, whatever the weights are: Kernel has Source, Form, Sums, kDepth, kRowTiles, kColumns (of a row tile), and
// kEarlyEnds: whether a tile's Ends are read while the tile before is under way, for which not every kernel has registers.
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
  Walk at(p);
  Ends ends;
  const bool ending = threadIdx.x < kTileRows * columns;  // threads that end a tile
  const bool early = Kernel::kEarlyEnds && ending && !at.done(p);
  if (early) ends.fixed(p, at.tile(p));
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
  if (early) ends.residual(p, at.tile(p));
  for (int place = 0; !at.done(p); place ^= 1) {
    Ends next_ends;
    if (ending) {
      Walk next = at;
      if (Kernel::kEarlyEnds) next.advance(p);
      Ends& to = Kernel::kEarlyEnds ? next_ends : ends;
      if (!next.done(p)) to.fixed(p, next.tile(p)), to.residual(p, next.tile(p));
    }
    typename Kernel::Sums sums;
    for (int stage = 0; stage < source.stages(); ++stage) {
      sums.add(ring.acquire(), source, stage, p, activations, lane);
      ring.release(p);
    }
    float totals[Kernel::kRowTiles][4];
    sums.total(totals);
    leave_sums<Kernel::kColumns>(totals, results.partial[place][warp], lane);
    __syncthreads();
    if (ending) finish_tile(p, ends, results, place, at.tile(p), at.k);
    if (p.feed && (at.shared(p) ? gather_unit(p, results, at) : at.k + 1 == tiles_of_unit(p))) {
      __syncthreads();
      finish_feed<typename Kernel::Form>(p, results, at.unit, warp, lane);
    }
    at.advance(p);
    if (Kernel::kEarlyEnds) ends = next_ends;
  }
}

template <class Kernel>
size_t shared_bytes(const Product& p) {
  constexpr int columns = Kernel::kColumns * Kernel::kRowTiles;
  const size_t own = p.x ? Kernel::Form::bytes(p) : 0;
  return kWarps * size_t(Ring<typename Kernel::Source, Kernel::kDepth>::kBytes) + sizeof(Results<columns>) + own;
}

}  // namespace onesec::cuda
