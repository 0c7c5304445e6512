// A product's block: one warp brings the weights of all tiles that the block does, stage after stage, into slots of shared
// memory; the warps that compute follow. Gates tell when a slot is full, and when all warps have done with it.
#pragma once
#include "finish.h"
#include "plan.h"

namespace onesec::cuda {

struct Gates {
  Gate full[kMostSlots], empty[kMostSlots];
  Gate factors;  // of the rows' norm are there
  Gate partner;  // has sent its values
};

// A slot, and the last bit of how often all of them have been gone through.
struct Place {
  __device__ int slot() const { return state_ & (kRound - 1); }
  __device__ int round() const { return state_ / kRound; }
  __device__ void advance(int slots) {
    if (++state_, slot() == slots) state_ = (state_ & kRound) ^ kRound;
  }

 private:
  static constexpr int kRound = 2 * kMostSlots;
  int state_ = 0;  // both in one register
};

// Sums says what is done with a stage: Form, kStageBytes, kSlots and kResident (at most), kColumns (of a row tile), kRowTiles,
// bring(), add(), total().
template <class Sums>
struct alignas(128) ProductMemory {
  static constexpr int kColumns = Sums::kColumns * Sums::kRowTiles;
  Gates gates;
  Results<kColumns> results;

  // Behind it lie the slots.
  __device__ uint8_t* slot(int index) { return reinterpret_cast<uint8_t*>(this + 1) + index * Sums::kStageBytes; }
};

template <class Sums>
constexpr Needs needs_of() { return {sizeof(ProductMemory<Sums>), Sums::kStageBytes, Sums::kSlots, Sums::kResident}; }

// By a warp of its own. What the slots take at first goes before the others are told of the gates; then, while nobody needs a
// slot yet, activations are brought near, and the norm's factors found.
template <class Sums>
ONESEC_DEVICE void bring_weights(const Product& p, ProductMemory<Sums>& memory, int lane) {
  const uint64_t policy = evict_first();
  const int stages = stages_of(p);
  if (lane == 0) {
    for (int slot = 0; slot < p.slots; ++slot) open_gate(&memory.gates.full[slot], 1), open_gate(&memory.gates.empty[slot], kWarps);
    open_gate(&memory.gates.factors, 1);
    show_gates();
  }
  __syncwarp();
  Place at;
  bool told = false;
  const auto tell = [&] {
    told = true;
    announce<kBlockThreads>();
    wait_for_previous();
    touch(p.prepared, static_cast<int>(Sums::Form::bytes(p)), lane, 32);
    if (!p.squares) return;
    find_factors(p, Sums::Form::groups(p), memory.results.factors, lane);
    __syncwarp();
    if (lane == 0) arrive_at(&memory.gates.factors);
  };
  for (Walk walk(p); !walk.done(p); walk.advance(p)) {
    const int tile = walk.tile(p);
    for (int stage = 0; stage < stages; ++stage) {
      if (told) wait_at(&memory.gates.empty[at.slot()], at.round() ^ 1);
      Gate* full = &memory.gates.full[at.slot()];
      if (lane == 0) expect_bytes(full, Sums::bytes(p, stage));
      __syncwarp();
      Sums::bring(memory.slot(at.slot()), p, tile, stage, full, policy, lane);
      if (stage == 0 && lane == 0) touch_ends(p, tile);
      at.advance(p.slots);
      if (at.slot() == 0 && !told) tell();
    }
  }
  if (!told) tell();
}

template <class Sums>
ONESEC_DEVICE void run_product(const Product& p) {
  using Form = typename Sums::Form;
  constexpr int columns = ProductMemory<Sums>::kColumns;
  auto& memory = shared_memory<ProductMemory<Sums>>();
  auto& results = memory.results;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (p.paired) {
    if (threadIdx.x == 0) {
      open_gate(&memory.gates.partner, 1);
      show_gates();
      expect_bytes(&memory.gates.partner, static_cast<int>(sizeof results.values[1]));
    }
    __syncwarp();
    arrive_at_cluster();
  }
  launch_dependents();
  if (warp == kWarps) return bring_weights<Sums>(p, memory, lane);  // they are no kernel's result: they need no wait
  await<kBlockThreads>();
  Place place;
  for (Walk at(p); !at.done(p); at.advance(p)) {
    Ends ends;
    Sums sums;
    for (int stage = 0; stage * kStageBlocks < p.superblocks; ++stage) {
      wait_at(&memory.gates.full[place.slot()], place.round());
      if (stage == 0) {
        wait_for_previous();  // as late as this: all that leads here has been gone through meanwhile
        ends = begin_tile<columns>(p, at.tile(p));
      }
      sums.add(memory.slot(place.slot()), Slice(p, stage, warp), stage * kStageBlocks, p, lane);
      __syncwarp();
      if (lane == 0) arrive_at(&memory.gates.empty[place.slot()]);
      place.advance(p.slots);
    }
    float totals[Sums::kRowTiles][4];
    sums.total(totals);
    leave_sums<Sums::kColumns>(totals, results.partial[at.turn()][warp], lane);
    meet<kThreads>();
    if (p.squares) wait_at(&memory.gates.factors, 0);
    if (p.paired && at.k() > 0) wait_for_cluster();  // the first block's gate is open
    finish_tile(p, ends, results, at, &memory.gates.partner);
    if (p.paired) {
      if (at.k() > 0) continue;
      meet<kThreads>();
      finish_stream<Form>(p, results, at.unit, &memory.gates.partner, warp, lane);
    } else if (p.feed && (at.shared(p) ? gather_unit(p, results, at) : at.k() + 1 == count_tiles(p))) {
      meet<kThreads>();
      finish_feed<Form>(p, results, at.unit, warp, lane);
    }
  }
}

}  // namespace onesec::cuda
