// A product's block: one warp brings the weights of all tiles that the block does, stage after stage, into slots of shared
// memory; the warps that compute follow. Gates tell when a slot is full, and when all warps have done with it.
#pragma once
#include "finish.h"

namespace onesec::cuda {

template <int Slots>
struct Gates {
  Gate full[Slots], empty[Slots];
};

// A slot, and the last bit of how often all of them have been gone through.
template <int Slots>
struct Place {
  int slot = 0, round = 0;

  __device__ void advance() {
    if (++slot == Slots) slot = 0, round ^= 1;
  }
};

// Sums says what is done with a stage: Form, kStageBytes, kSlots, kColumns (of a row tile), kRowTiles, bring(), add(), total().
template <class Sums>
struct ProductMemory {
  static constexpr int kColumns = Sums::kColumns * Sums::kRowTiles;
  alignas(128) uint8_t slots[Sums::kSlots][Sums::kStageBytes];
  Gates<Sums::kSlots> gates;
  Results<kColumns> results;  // and the block's own activations behind them
};

template <class Sums>
size_t shared_bytes(const Product& p) { return sizeof(ProductMemory<Sums>) + (p.x ? Sums::Form::bytes(p) : 0); }

// By a warp of its own. What the slots take at first goes before the others are told of the gates.
template <class Sums>
ONESEC_DEVICE void bring_weights(const Product& p, ProductMemory<Sums>& memory, int lane) {
  const uint64_t policy = evict_first();
  const int stages = stages_of(p);
  if (lane == 0) {
    for (int slot = 0; slot < Sums::kSlots; ++slot) open_gate(&memory.gates.full[slot], 1), open_gate(&memory.gates.empty[slot], kWarps);
    show_gates();
  }
  __syncwarp();
  Place<Sums::kSlots> at;
  bool told = false;
  for (Walk walk(p); !walk.done(p); walk.advance(p)) {
    const int tile = walk.tile(p);
    for (int stage = 0; stage < stages; ++stage) {
      if (told) wait_at(&memory.gates.empty[at.slot], at.round ^ 1);
      Gate* full = &memory.gates.full[at.slot];
      if (lane == 0) expect_bytes(full, Sums::bytes(p, stage));
      __syncwarp();
      Sums::bring(memory.slots[at.slot], p, tile, stage, full, policy, lane);
      if (stage == 0 && lane == 0) touch_ends(p, tile);
      at.advance();
      if (at.slot == 0 && !told) {
        announce<kBlockThreads>();
        told = true;
      }
    }
  }
  if (!told) announce<kBlockThreads>();
}

template <class Sums>
ONESEC_DEVICE void run_product(const Product& p) {
  using Form = typename Sums::Form;
  constexpr int columns = ProductMemory<Sums>::kColumns;
  auto& memory = shared_memory<ProductMemory<Sums>>();
  auto& results = memory.results;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, stages = stages_of(p);
  launch_dependents();
  if (warp == kWarps) return bring_weights<Sums>(p, memory, lane);  // they are no kernel's result: they need no wait
  const void* activations = p.prepared;
  if (Sums::kOwn && p.x) {
    touch_norm(p);
    wait_for_previous();
    activations = &memory + 1;
    Form::prepare(p, 0, p.rows, &memory + 1, results.scratch);
  } else {
    wait_for_previous();
    touch(activations, static_cast<int>(Form::bytes(p)), threadIdx.x, kThreads);
  }
  await<kBlockThreads>();
  int turn = 0;
  Place<Sums::kSlots> place;
  for (Walk at(p); !at.done(p); at.advance(p), turn ^= 1) {
    const int tile = at.tile(p);
    const Ends ends = begin_tile<columns>(p, tile);
    Sums sums;
    for (int stage = 0; stage < stages; ++stage) {
      wait_at(&memory.gates.full[place.slot], place.round);
      sums.add(memory.slots[place.slot], Slice(p, stage, warp), stage * kStageBlocks, p, activations, lane);
      __syncwarp();
      if (lane == 0) arrive_at(&memory.gates.empty[place.slot]);
      place.advance();
    }
    float totals[Sums::kRowTiles][4];
    sums.total(totals);
    leave_sums<Sums::kColumns>(totals, results.partial[turn][warp], lane);
    meet<kThreads>();
    finish_tile(p, ends, results, turn, tile, at.k);
    if (p.feed && (at.shared(p) ? gather_unit(p, results, at) : at.k + 1 == tiles_of_unit(p))) {
      meet<kThreads>();
      finish_feed<Form>(p, results, at.unit, warp, lane);
    }
  }
}

}  // namespace onesec::cuda
