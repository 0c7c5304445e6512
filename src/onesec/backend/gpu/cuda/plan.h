// How a product is spread over a GPU: how many blocks, with how many slots for weights, and which units they share. Knows
// sizes, no instruction.
#pragma once
#include <algorithm>

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
  const int stages = stages_of(p), least = std::min(needs.most_slots, kLeastSlots);
  const auto slots = [&](int resident) {
    const size_t bytes = shared / size_t(resident), fixed = needs.fixed + kReservedBytes;
    return bytes > fixed ? int(std::min((bytes - fixed) / needs.slot, size_t(needs.most_slots))) : 0;
  };
  const bool at_once = each <= needs.resident && slots(each) >= std::min(stages, least);
  int resident = at_once ? each : needs.resident;
  while (!at_once && resident > 1 && slots(resident) < least) --resident;
  int blocks = at_once || p.paired ? tiles : std::min(tiles, resident * multiprocessors);
  p = share_units(p, blocks);
  if (!p.paired && p.first_shared == p.units) blocks = std::min(blocks, p.units);  // no more have work
  p.slots = std::max(slots(resident), 1);
  if (blocks == tiles) p.slots = std::min(p.slots, stages);
  return {p, blocks, needs.fixed + size_t(p.slots) * needs.slot};
}

}  // namespace onesec::cuda
