// See cuda_emulation.h. Threads of a block are fibers of one operating-system thread.
#include "cuda_emulation.h"

#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace onesec::emulation {
namespace {

constexpr size_t kStack = 128 * 1024;

struct Barrier {
  int size = 0, arrived = 0;
  unsigned generation = 0;
};
struct Warp {
  Barrier barrier;
  alignas(16) uint8_t exchanged[2][32][32];  // in turn: a lane may be one exchange ahead of the others
};
struct Copy {
  void* to;
  const void* from;
  int bytes;
};
// A gate of shared memory. Copies are made when somebody waits for them.
struct Gate {
  int count = 0, arrived = 0, bytes = 0, round = 0;  // rounds: how often it has opened
  std::vector<Copy> copies;
};
struct Fiber {
  ucontext_t context;
  std::unique_ptr<uint8_t[]> stack{new uint8_t[kStack]};
  const Barrier* waits = nullptr;
  unsigned generation = 0;
  bool at_cluster = false;  // waits there, since it has opened so often
  int opened = 0;
  bool done = false;
  Gate* gate = nullptr;  // that has to have opened once more than so often, by the last bit
  int round = 0;
  int turn = 0;
  void* fake_stack = nullptr;
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  Barrier barrier, named, halves;
  std::map<void*, Gate> gates;
  unsigned index = 0;
  std::unique_ptr<uint8_t, decltype(&std::free)> shared{nullptr, &std::free};
  bool waited = false;
  int opened = 0, arrived = 0;  // of its cluster's barrier, in the cluster's first block
  int left = 0;  // threads that have not ended
};

struct Launch {
  unsigned grid = 0;
  int threads = 0;
  void (*kernel)(const void*) = nullptr;
  const void* arguments = nullptr;
  void (*previous)(void*) = nullptr;
  void* state = nullptr;
  bool written = false;
} launched;

// Of the operating-system thread, while fibers run.
struct Scheduler {
  ucontext_t context;
  void* fake_stack = nullptr;
  const void* stack = nullptr;
  size_t size = 0;
} scheduler;

Block* block = nullptr;  // and the thread of it that runs
unsigned current = 0;

int cluster_size = 1;
std::map<unsigned, Block*> begun;  // the cluster's blocks, by their numbers

// A block of the running one's cluster.
Block& in_cluster(int rank) { return *begun.at(block->index / unsigned(cluster_size) * unsigned(cluster_size) + unsigned(rank)); }

[[noreturn]] void fail(const char* what) {
  std::printf("FAILED in the emulated kernel: %s (block %u, thread %u)\n", what, block->index, current);
  std::exit(1);
}

void enter_fiber(Fiber& fiber) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&scheduler.fake_stack, fiber.stack.get(), kStack);
#endif
  swapcontext(&scheduler.context, &fiber.context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(scheduler.fake_stack, nullptr, nullptr);
#endif
}

void leave_fiber(Fiber& fiber) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fiber.done ? nullptr : &fiber.fake_stack, scheduler.stack, scheduler.size);
#endif
  swapcontext(&fiber.context, &scheduler.context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fiber.fake_stack, &scheduler.stack, &scheduler.size);
#endif
}

void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler.stack, &scheduler.size);
#endif
  launched.kernel(launched.arguments);
  Fiber& fiber = block->fibers[current];
  fiber.done = true;
  leave_fiber(fiber);
}

void meet(Barrier& barrier) {
  Fiber& fiber = block->fibers[current];
  if (++barrier.arrived == barrier.size) {
    barrier.arrived = 0;
    ++barrier.generation;
    return;
  }
  fiber.waits = &barrier, fiber.generation = barrier.generation;
  leave_fiber(fiber);
}

void begin_block(Block& b, unsigned index, size_t shared) {
  b.index = index, b.waited = false, b.left = launched.threads;
  b.fibers.resize(size_t(launched.threads));
  b.warps.resize(size_t(launched.threads / 32));
  for (Warp& warp : b.warps) warp.barrier.size = 32;
  b.barrier.size = launched.threads;
  b.halves = b.named = {};
  b.gates.clear();
  void* memory = nullptr;
  if (posix_memalign(&memory, 128, shared)) fail("no memory");
  b.shared.reset(static_cast<uint8_t*>(std::memset(memory, 0xff, shared)));
  for (Fiber& fiber : b.fibers) {
    fiber.waits = nullptr, fiber.at_cluster = false, fiber.gate = nullptr, fiber.done = false, fiber.turn = 0;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, fiber_main, 0);
  }
}

void settle(Gate& gate) {
  if (gate.arrived < gate.count || gate.bytes != 0) return;
  gate.arrived = 0, ++gate.round;
}
// Asked by one who waits: what is on its way comes now.
bool is_open(Gate& gate, int round) {
  for (const Copy& copy : gate.copies) {
    std::memcpy(copy.to, copy.from, size_t(copy.bytes));
    gate.bytes -= copy.bytes;
  }
  gate.copies.clear();
  settle(gate);
  return gate.round % 2 != round;
}

// As far as the block's threads come by themselves; whether any came further.
bool run_block(Block& b) {
  block = &b;
  bool moved = false;
  for (bool again = true; again;) {
    again = false;
    for (current = 0; current < unsigned(launched.threads); ++current) {
      Fiber& fiber = b.fibers[current];
      if (fiber.done || (fiber.waits && fiber.waits->generation == fiber.generation)) continue;
      if (fiber.at_cluster && in_cluster(0).opened == fiber.opened) continue;
      if (fiber.gate && !is_open(*fiber.gate, fiber.round)) continue;
      fiber.waits = nullptr, fiber.at_cluster = false, fiber.gate = nullptr;
      moved = again = true;
      enter_fiber(fiber);
      b.left -= fiber.done;
    }
  }
  return moved;
}

}  // namespace

Index thread_index() { return {current}; }
Index block_index() { return {block->index}; }
Index grid_size() { return {launched.grid}; }
uint8_t* shared_memory() { return block->shared.get(); }

void block_barrier() { meet(block->barrier); }
void named_barrier(int threads) {
  if (int(current) >= threads) fail("a thread that has no part in it comes to a barrier");
  block->named.size = threads;
  meet(block->named);
}
void named_arrival(int threads) {
  block->halves.size = threads;
  if (++block->halves.arrived == threads) ++block->halves.generation;
}
void named_wait() {
  Fiber& fiber = block->fibers[current];
  if (block->halves.generation > 0) return;
  fiber.waits = &block->halves, fiber.generation = 0;
  leave_fiber(fiber);
}
void warp_barrier() { meet(block->warps[current / 32].barrier); }

const uint8_t (*exchange(const void* mine, size_t size))[32] {
  Warp& warp = block->warps[current / 32];
  Fiber& fiber = block->fibers[current];
  auto* all = warp.exchanged[fiber.turn ^= 1];
  std::memcpy(all[current % 32], mine, size);
  meet(warp.barrier);
  return all;
}

namespace {

Gate& gate_at(void* address) {
  const auto found = block->gates.find(address);
  if (found == block->gates.end()) fail("a gate that nobody has opened");
  return found->second;
}
}  // namespace

void open_gate(void* address, int count) {
  Gate gate;
  gate.count = count;
  block->gates[address] = gate;
}
void arrive_at(void* address, int bytes) {
  Gate& gate = gate_at(address);
  ++gate.arrived, gate.bytes += bytes;
  settle(gate);
}
void wait_at(void* address, int round) {
  Gate& gate = gate_at(address);
  if (is_open(gate, round)) return;
  Fiber& fiber = block->fibers[current];
  fiber.gate = &gate, fiber.round = round;
  leave_fiber(fiber);
}
void copy_bulk(void* to, const void* from, int bytes, void* gate) {
  if (reinterpret_cast<uintptr_t>(to) % 16 || reinterpret_cast<uintptr_t>(from) % 16 || bytes % 16 || bytes <= 0) fail("a copy is not of aligned sixteens of bytes");
  gate_at(gate).copies.push_back({to, from, bytes});
}
void touch(const void* from, int bytes, int index, int count) {
  volatile uint8_t touched = 0;  // a sanitizer sees what is not there
  for (int at = index * 128; at < bytes; at += count * 128) touched = static_cast<const uint8_t*>(from)[at];
  static_cast<void>(touched);
}
void wait_for_previous() {
  if (!launched.written && launched.previous) launched.previous(launched.state);
  block->waited = launched.written = true;
}
void cluster(int blocks) { cluster_size = blocks; }
void arrive_at_cluster() {
  Block& first = in_cluster(0);
  block->fibers[current].opened = first.opened;
  if (++first.arrived == cluster_size * launched.threads) first.arrived = 0, ++first.opened;
}
void wait_for_cluster() {
  Fiber& fiber = block->fibers[current];
  if (in_cluster(0).opened != fiber.opened) return;
  fiber.at_cluster = true;
  leave_fiber(fiber);
}
void send(const void* x, size_t size, void* to, void* gate, int rank) {
  Block& there = in_cluster(rank);
  if (there.left == 0) fail("memory of a block that has ended");
  uint8_t *mine = block->shared.get(), *its = there.shared.get();
  const auto found = there.gates.find(its + (static_cast<uint8_t*>(gate) - mine));
  if (found == there.gates.end()) fail("a gate that nobody has opened");
  std::memcpy(its + (static_cast<uint8_t*>(to) - mine), x, size);
  found->second.bytes -= int(size);
  settle(found->second);
}

void run(int blocks, int threads, size_t shared, void (*kernel)(const void*), const void* arguments, void (*previous)(void*), void* state) {
  launched = {unsigned(blocks), threads, kernel, arguments, previous, state, false};
  static std::vector<std::unique_ptr<Block>> pool;  // their stacks are used again
  while (pool.size() < size_t(cluster_size)) pool.push_back(std::make_unique<Block>());
  for (unsigned index = 0; index < launched.grid; index += unsigned(cluster_size)) {
    begun.clear();
    for (int rank = 0; rank < cluster_size; ++rank) {
      begin_block(*pool[size_t(rank)], index + unsigned(rank), shared);
      begun[index + unsigned(rank)] = pool[size_t(rank)].get();
    }
    for (int left = 1; left > 0;) {
      bool moved = false;
      left = 0;
      for (int rank = 0; rank < cluster_size; ++rank) {
        moved |= run_block(*pool[size_t(rank)]);
        left += block->left;
        if (block->left == 0 && !block->waited) fail("a block ends without having waited for the kernel before it");
      }
      if (left > 0 && !moved) fail("threads wait for what never comes");
    }
  }
}

#if defined(__aarch64__)
using Half = __fp16;  // gcc before 13 has no _Float16 in C++ there
#else
using Half = _Float16;
#endif

uint16_t round_bf16(float x) {
  const uint32_t bits = __float_as_uint(x);
  if (std::isnan(x)) return uint16_t(bits >> 16 | 64);
  return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
float widen_bf16(uint16_t x) { return __uint_as_float(uint32_t(x) << 16); }
uint16_t round_half(float x) {
  const auto half = static_cast<Half>(x);
  uint16_t bits;
  std::memcpy(&bits, &half, 2);
  return bits;
}
float widen_half(uint16_t x) {
  Half half;
  std::memcpy(&half, &x, 2);
  return static_cast<float>(half);
}

// PTX ISA, "Matrix Fragments for mma.m16n8k32" of 8-bit types: a[0] row g, columns 4t..4t+3; a[1] row g + 8; a[2], a[3]
// the same of columns 16 + 4t..; b[0] rows 4t..4t+3 of column g, b[1] rows 16 + 4t..; c[0], c[1] row g, columns 2t,
// 2t + 1; c[2], c[3] row g + 8.
void multiply_bytes(int (&c)[4], const uint32_t (&a)[4], uint2 b) {
  const uint32_t mine[6] = {a[0], a[1], a[2], a[3], b.x, b.y};
  const auto* all = exchange(mine, sizeof mine);
  const int g = int(current % 32) / 4, t = int(current % 32) % 4;
  for (int i = 0; i < 4; ++i) {
    const int row_lane = 4 * g, column = 2 * t + i % 2;
    for (int k = 0; k < 32; ++k) {
      const int lane = k % 16 / 4, byte = k % 4, half = k / 16;
      const uint8_t u = all[row_lane + lane][4 * (2 * half + i / 2) + byte];
      const auto s = static_cast<int8_t>(all[4 * column + lane][4 * (4 + half) + byte]);
      c[i] += int(u) * int(s);
    }
  }
}

// The same of mma.m16n8k16: a[0] row g, columns 2t, 2t + 1; a[1] row g + 8; a[2], a[3] columns 8 + 2t..; b likewise.
void multiply_halves(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, float (*widen)(uint16_t)) {
  const uint32_t mine[6] = {a[0], a[1], a[2], a[3], b0, b1};
  const auto* all = exchange(mine, sizeof mine);
  const int g = int(current % 32) / 4, t = int(current % 32) % 4;
  for (int i = 0; i < 4; ++i) {
    const int column = 2 * t + i % 2;
    float sum = 0.0f;
    for (int k = 0; k < 16; ++k) {
      const int lane = k % 8 / 2, part = k % 2, half = k / 8;
      uint16_t u, s;
      std::memcpy(&u, all[4 * g + lane] + 4 * (2 * half + i / 2) + 2 * part, 2);
      std::memcpy(&s, all[4 * column + lane] + 4 * (4 + half) + 2 * part, 2);
      sum = std::fma(widen(u), widen(s), sum);
    }
    c[i] += sum;
  }
}

}  // namespace onesec::emulation
