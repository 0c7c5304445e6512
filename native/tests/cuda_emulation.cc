// See cuda_emulation.h. Threads of a block are fibers of one operating-system thread.
#include "cuda_emulation.h"

#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
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
  int group;
};
struct Fiber {
  ucontext_t context;
  std::unique_ptr<uint8_t[]> stack{new uint8_t[kStack]};
  const Barrier* waits = nullptr;
  unsigned generation = 0;
  bool done = false;
  int turn = 0, groups = 0;
  std::deque<Copy> copies;
  void* fake_stack = nullptr;
};

struct Block {
  ucontext_t scheduler;
  void* fake_stack = nullptr;
  const void* scheduler_stack = nullptr;
  size_t scheduler_size = 0;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  Barrier barrier;
  unsigned current = 0, index = 0, grid = 0;
  uint8_t* shared = nullptr;
  void (*kernel)(const void*) = nullptr;
  const void* arguments = nullptr;
  void (*previous)(void*) = nullptr;
  void* state = nullptr;
  bool waited = false, written = false;
} block;

[[noreturn]] void fail(const char* what) {
  std::printf("FAILED in the emulated kernel: %s (block %u, thread %u)\n", what, block.index, block.current);
  std::exit(1);
}

void enter_fiber(Fiber& fiber) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&block.fake_stack, fiber.stack.get(), kStack);
#endif
  swapcontext(&block.scheduler, &fiber.context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(block.fake_stack, nullptr, nullptr);
#endif
}

void leave_fiber(Fiber& fiber) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fiber.done ? nullptr : &fiber.fake_stack, block.scheduler_stack, block.scheduler_size);
#endif
  swapcontext(&fiber.context, &block.scheduler);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fiber.fake_stack, &block.scheduler_stack, &block.scheduler_size);
#endif
}

void fiber_main() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &block.scheduler_stack, &block.scheduler_size);
#endif
  block.kernel(block.arguments);
  Fiber& fiber = block.fibers[block.current];
  fiber.done = true;
  leave_fiber(fiber);
}

void meet(Barrier& barrier) {
  Fiber& fiber = block.fibers[block.current];
  if (++barrier.arrived == barrier.size) {
    barrier.arrived = 0;
    ++barrier.generation;
    return;
  }
  fiber.waits = &barrier, fiber.generation = barrier.generation;
  leave_fiber(fiber);
}

void run_block(int threads) {
  for (int i = 0; i < threads; ++i) {
    Fiber& fiber = block.fibers[size_t(i)];
    fiber.waits = nullptr, fiber.done = false, fiber.turn = fiber.groups = 0;
    fiber.copies.clear();
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, fiber_main, 0);
  }
  for (int left = threads; left > 0;) {
    bool moved = false;
    for (block.current = 0; block.current < unsigned(threads); ++block.current) {
      Fiber& fiber = block.fibers[block.current];
      if (fiber.done || (fiber.waits && fiber.waits->generation == fiber.generation)) continue;
      fiber.waits = nullptr;
      moved = true;
      enter_fiber(fiber);
      left -= fiber.done;
    }
    if (!moved) fail("threads wait at a barrier that the others never reach");
  }
}

}  // namespace

Index thread_index() { return {block.current}; }
Index block_index() { return {block.index}; }
Index grid_size() { return {block.grid}; }
uint8_t* shared_memory() { return block.shared; }

void block_barrier() { meet(block.barrier); }
void warp_barrier() { meet(block.warps[block.current / 32].barrier); }

const uint8_t (*exchange(const void* mine, size_t size))[32] {
  Warp& warp = block.warps[block.current / 32];
  Fiber& fiber = block.fibers[block.current];
  auto* all = warp.exchanged[fiber.turn ^= 1];
  std::memcpy(all[block.current % 32], mine, size);
  meet(warp.barrier);
  return all;
}

void copy_async(void* to, const void* from) {
  if (reinterpret_cast<uintptr_t>(to) % 16 || reinterpret_cast<uintptr_t>(from) % 16) fail("a copy of 16 bytes is not aligned");
  Fiber& fiber = block.fibers[block.current];
  fiber.copies.push_back({to, from, fiber.groups});
}
void commit_copies() { ++block.fibers[block.current].groups; }
void wait_copies(int pending) {
  Fiber& fiber = block.fibers[block.current];
  while (!fiber.copies.empty() && fiber.copies.front().group < fiber.groups - pending) {
    const Copy copy = fiber.copies.front();
    fiber.copies.pop_front();
    std::memcpy(copy.to, copy.from, 16);
  }
}
void touch(const void* from, int bytes, int index, int count) {
  volatile uint8_t touched = 0;  // a sanitizer sees what is not there
  for (int at = index * 128; at < bytes; at += count * 128) touched = static_cast<const uint8_t*>(from)[at];
  static_cast<void>(touched);
}
void wait_for_previous() {
  if (!block.written && block.previous) block.previous(block.state);
  block.waited = block.written = true;
}

void run(int blocks, int threads, size_t shared, void (*kernel)(const void*), const void* arguments, void (*previous)(void*), void* state) {
  block.fibers.resize(size_t(threads));
  block.warps.resize(size_t(threads / 32));
  for (Warp& warp : block.warps) warp.barrier.size = 32;
  block.barrier.size = threads;
  block.kernel = kernel, block.arguments = arguments, block.previous = previous, block.state = state;
  block.grid = unsigned(blocks);
  block.written = false;
  for (block.index = 0; block.index < unsigned(blocks); ++block.index) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 128, shared)) fail("no memory");
    block.shared = static_cast<uint8_t*>(std::memset(memory, 0xff, shared));
    block.waited = false;
    run_block(threads);
    std::free(memory);
    if (!block.waited) fail("a block ends without having waited for the kernel before it");
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
  const int g = int(block.current % 32) / 4, t = int(block.current % 32) % 4;
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
  const int g = int(block.current % 32) / 4, t = int(block.current % 32) % 4;
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
