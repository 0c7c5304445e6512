// What the kernels of src/onesec/backend/gpu/cuda use of a GPU, on a CPU: a block's threads are fibers that meet at barriers
// and exchange fragments, copies arrive no sooner than they are waited for, shared memory starts out poisoned.
// Blocks run one after another, but for those of a cluster. Strict where the hardware is: alignment, all lanes at a collective, no read before a wait.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define ONESEC_DEVICE static inline
#define ONESEC_CLUSTER(blocks)

struct alignas(8) uint2 { uint32_t x, y; };
struct alignas(16) uint4 { uint32_t x, y, z, w; };
struct alignas(8) int2 { int32_t x, y; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };

namespace onesec::emulation {

struct Index { unsigned x; };
Index thread_index();
Index block_index();
Index grid_size();
uint8_t* shared_memory();

void block_barrier();  // of all threads
void named_barrier(int threads);  // of the first ones
void named_arrival(int threads);  // once a launch
void named_wait();
void warp_barrier();
// Every lane of the warp gives `size` bytes (at most 32) and then sees all lanes' [32][32 bytes].
const uint8_t (*exchange(const void* mine, size_t size))[32];

void open_gate(void* gate, int count);
void arrive_at(void* gate, int bytes);  // and expects so many
void wait_at(void* gate, int round);
void copy_bulk(void* to, const void* from, int bytes, void* gate);
void wait_for_previous();
// Blocks of a cluster, of launches from now on; and its barrier and memory.
void cluster(int blocks);
void arrive_at_cluster();
void wait_for_cluster();
void send(const void* x, size_t size, void* to, void* gate, int block);
void touch(const void* from, int bytes, int index, int count);

// Runs `kernel` for each block of the grid, with exactly `shared` bytes of shared memory. `previous` writes what the
// kernel before would have written; it is called when a block first waits for it.
void run(int blocks, int threads, size_t shared, void (*kernel)(const void*), const void* arguments, void (*previous)(void*), void* state);

template <class T>
inline T from_lane(T mine, int lane) {
  T other;
  std::memcpy(&other, exchange(&mine, sizeof mine)[lane], sizeof other);
  return other;
}

uint16_t round_bf16(float x);
uint16_t round_half(float x);
float widen_bf16(uint16_t x);
float widen_half(uint16_t x);
void multiply_bytes(int (&c)[4], const uint32_t (&a)[4], uint2 b);
void multiply_halves(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, float (*widen)(uint16_t));

}  // namespace onesec::emulation

#define threadIdx ::onesec::emulation::thread_index()
#define blockIdx ::onesec::emulation::block_index()
#define gridDim ::onesec::emulation::grid_size()

inline void __syncthreads() { onesec::emulation::block_barrier(); }
inline void __syncwarp() { onesec::emulation::warp_barrier(); }
inline float __uint_as_float(uint32_t x) { float y; std::memcpy(&y, &x, 4); return y; }
inline uint32_t __float_as_uint(float x) { uint32_t y; std::memcpy(&y, &x, 4); return y; }
inline float __int_as_float(int x) { return __uint_as_float(static_cast<uint32_t>(x)); }
inline int __float2int_rn(float x) {  // zero for what is not a number, else the nearest that there is
  if (x != x) return 0;
  return x >= 0x1p31f ? INT32_MAX : x < -0x1p31f ? INT32_MIN : static_cast<int>(std::nearbyintf(x));
}
template <class T>
T __shfl_xor_sync(unsigned, T x, int mask) {
  return onesec::emulation::from_lane(x, static_cast<int>(threadIdx.x % 32) ^ mask);
}
inline unsigned __reduce_max_sync(unsigned, unsigned x) {
  const auto* all = onesec::emulation::exchange(&x, sizeof x);
  unsigned largest = 0, other;
  for (int lane = 0; lane < 32; ++lane) std::memcpy(&other, all[lane], 4), largest = other > largest ? other : largest;
  return largest;
}
inline int __reduce_add_sync(unsigned, int x) {
  const auto* all = onesec::emulation::exchange(&x, sizeof x);
  int sum = 0, other;
  for (int lane = 0; lane < 32; ++lane) std::memcpy(&other, all[lane], 4), sum += other;
  return sum;
}

namespace onesec::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;

inline uint64_t evict_first() { return 0; }
inline uint64_t evict_normal() { return 0; }
template <class T>
T& shared_memory() { return *reinterpret_cast<T*>(emulation::shared_memory()); }

struct Gate { uint64_t state; };
inline void open_gate(Gate* gate, int count) { emulation::open_gate(gate, count); }
inline void show_gates() {}
inline void arrive_at(Gate* gate) { emulation::arrive_at(gate, 0); }
inline void expect_bytes(Gate* gate, int bytes) { emulation::arrive_at(gate, bytes); }
inline void wait_at(Gate* gate, int round) { emulation::wait_at(gate, round); }
inline void copy_bulk(void* to, const void* from, int bytes, Gate* gate, uint64_t) { emulation::copy_bulk(to, from, bytes, gate); }
template <class T>
void send(T x, T* to, Gate* gate, int block) { emulation::send(&x, sizeof x, to, gate, block); }
template <int Threads>
void meet() { emulation::named_barrier(Threads); }
template <int Threads>
void announce() { emulation::named_arrival(Threads); }
template <int Threads>
void await() { emulation::named_arrival(Threads), emulation::named_wait(); }
inline int arrive(int32_t* counter) { return (*counter)++; }
inline void arrive_at_cluster() { emulation::arrive_at_cluster(); }
inline void wait_for_cluster() { emulation::wait_for_cluster(); }
inline void touch(const void* from, int bytes, int index, int count) { emulation::touch(from, bytes, index, count); }
inline float load_fresh(const float* at) { return *at; }
inline float power_of_two(float x) { return std::exp2(x); }
inline int fresh(int x) { return x; }
inline float2 widen_halves(uint32_t pair) { return {emulation::widen_half(uint16_t(pair)), emulation::widen_half(uint16_t(pair >> 16))}; }
inline void launch_dependents() {}
inline void wait_for_previous() { emulation::wait_for_previous(); }
inline void multiply(int (&c)[4], const uint32_t (&a)[4], uint2 b) { emulation::multiply_bytes(c, a, b); }
struct Bf16 {
  static void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { emulation::multiply_halves(c, a, b0, b1, emulation::widen_bf16); }
  static uint16_t round(float x) { return emulation::round_bf16(x); }
};
struct Half {
  static void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) { emulation::multiply_halves(c, a, b0, b1, emulation::widen_half); }
  static uint16_t round(float x) { return emulation::round_half(x); }
};

}  // namespace onesec::cuda
