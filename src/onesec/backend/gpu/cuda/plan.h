// How a product is spread over a GPU: how many blocks, with how many slots for weights, and which units they share. Knows
// sizes, no instruction.
#pragma once
#include "stage.h"

namespace onesec::cuda {

constexpr int kMostSlots = 8, kLeastSlots = 3;  // with fewer, a block waits for memory
constexpr size_t kReservedBytes = 1024;         // of a block's shared memory, by CUDA

// What a kernel needs of a multiprocessor: bytes of shared memory, without slots and of each; and what fits.
struct Needs {
  size_t fixed, slot;
  int most_slots;
  int resident;  // blocks, for the registers
};
struct Plan {
  Product product;
  int blocks;
  size_t shared;
};

// Where a tile each is enough for the last round of units, they are shared: more would not pay for the blocks' meeting.
constexpr Product share_units(Product p, int blocks) {
  const int left = p.units % blocks, tiles = tiles_of_unit(p);
  p.first_shared = tiles > 1 && !p.paired && left * tiles <= blocks ? p.units - left : p.units;
  return p;
}

// Where all tiles fit at once, blocks have one each, and no more slots than it has stages: the kernel that follows finds room
// sooner. Else as many blocks as fit walk over the units. Paired blocks have a tile each, be they too many.
constexpr Plan plan(Product p, const Needs& needs, int multiprocessors, size_t shared) {
  const int tiles = p.units * tiles_of_unit(p), each = (tiles + multiprocessors - 1) / multiprocessors;
  const auto slots = [&](int resident) {
    const size_t bytes = shared / size_t(resident), fixed = needs.fixed + kReservedBytes;
    const size_t fit = bytes > fixed ? (bytes - fixed) / needs.slot : 0;
    return fit < size_t(needs.most_slots) ? int(fit) : needs.most_slots;
  };
  const auto enough = [&](int resident, int stages) {
    const int least = needs.most_slots < kLeastSlots ? needs.most_slots : kLeastSlots;
    return slots(resident) >= (stages < least ? stages : least);
  };
  const bool at_once = each <= needs.resident && enough(each, stages_of(p));
  int resident = at_once ? each : needs.resident;
  while (!at_once && resident > 1 && !enough(resident, kLeastSlots)) --resident;
  int blocks = at_once || p.paired ? tiles : resident * multiprocessors < tiles ? resident * multiprocessors : tiles;
  p = share_units(p, blocks);
  if (!p.paired && p.first_shared == p.units && p.units < blocks) blocks = p.units;  // no more have work
  p.slots = slots(resident);
  if (blocks == tiles && stages_of(p) < p.slots) p.slots = stages_of(p);
  if (p.slots < 1) p.slots = 1;
  return {p, blocks, needs.fixed + size_t(p.slots) * needs.slot};
}

}  // namespace onesec::cuda
