// The machine's own instructions behind plain names: tensor-core products, bulk copies, dependent launches.
// Without nvcc the same names come from an emulation, so that the kernels' source runs, and is tested, on a CPU.
#pragma once
#include <cstddef>
#include <cstdint>

#ifndef __CUDACC__
#include "cuda_emulation.h"
#else
#include <cuda_runtime.h>

#define ONESEC_DEVICE static __device__ __forceinline__
#define ONESEC_CLUSTER(blocks) __cluster_dims__(blocks, 1, 1)

namespace onesec::cuda {

// The block's shared memory, as the launch has sized it.
template <class T>
ONESEC_DEVICE T& shared_memory() {
  extern __shared__ __align__(128) uint8_t memory[];
  return *reinterpret_cast<T*>(memory);
}

constexpr unsigned kAllLanes = 0xffffffffu;

// Weights are read once a step: they leave the L2 cache first, so that activations and the KV cache stay.
ONESEC_DEVICE uint64_t evict_first() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

ONESEC_DEVICE uint64_t evict_normal() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

ONESEC_DEVICE uint32_t shared_address(const void* shared) { return static_cast<uint32_t>(__cvta_generic_to_shared(shared)); }

// A barrier in shared memory that opens, again and again, when so many have arrived and the bytes they expect have come.
struct Gate { uint64_t state; };
ONESEC_DEVICE void open_gate(Gate* gate, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(gate)), "r"(count) : "memory");
}
ONESEC_DEVICE void show_gates() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }  // to what copies
ONESEC_DEVICE void arrive_at(Gate* gate) {
  asm volatile("{ .reg .b64 state; mbarrier.arrive.shared::cta.b64 state, [%0]; }" ::"r"(shared_address(gate)) : "memory");
}
ONESEC_DEVICE void expect_bytes(Gate* gate, int bytes) {  // and arrives
  asm volatile("{ .reg .b64 state; mbarrier.arrive.expect_tx.shared::cta.b64 state, [%0], %1; }" ::"r"(shared_address(gate)), "r"(bytes) : "memory");
}
// Until it has opened the round-th time: rounds are counted by their last bit.
ONESEC_DEVICE void wait_at(Gate* gate, int round) {
  asm volatile(
      "{\n .reg .pred there;\n"
      "again:\n mbarrier.try_wait.parity.shared::cta.b64 there, [%0], %1;\n @!there bra again;\n}" ::"r"(shared_address(gate)), "r"(round) : "memory");
}
// `bytes` (a multiple of 16, both ends aligned to it) from global into shared memory, told to the gate.
ONESEC_DEVICE void copy_bulk(void* to, const void* from, int bytes, Gate* gate, uint64_t policy) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(shared_address(to)),
               "l"(from), "r"(bytes), "r"(shared_address(gate)), "l"(policy) : "memory");
}

// A barrier of the first `threads` threads of a block; and one of two halves, which some of `threads` only come to.
template <int Threads>
ONESEC_DEVICE void meet() { asm volatile("bar.sync 1, %0;" ::"n"(Threads) : "memory"); }
template <int Threads>
ONESEC_DEVICE void announce() { asm volatile("bar.arrive 2, %0;" ::"n"(Threads) : "memory"); }
template <int Threads>
ONESEC_DEVICE void await() { asm volatile("bar.sync 2, %0;" ::"n"(Threads) : "memory"); }

// How many have arrived at a counter before. What was written before is seen by those who arrive afterwards.
ONESEC_DEVICE int arrive(int32_t* counter) {
  int before;
  asm volatile("atom.acq_rel.gpu.global.add.s32 %0, [%1], 1;" : "=r"(before) : "l"(counter) : "memory");
  return before;
}

// A barrier of the blocks of a cluster in two halves. Gates that were shown before the first are open to all after the second.
ONESEC_DEVICE void arrive_at_cluster() { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
ONESEC_DEVICE void wait_for_cluster() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
// Into the shared memory of a block of the cluster, told to its gate; `to` and `gate` are where they are in one's own.
ONESEC_DEVICE uint32_t address_in_cluster(const void* own, int block) {
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(own)), "r"(block));
  return there;
}
ONESEC_DEVICE void send(float x, float* to, Gate* gate, int block) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.f32 [%0], %1, [%2];" ::"r"(address_in_cluster(to, block)), "f"(x),
               "r"(address_in_cluster(gate, block)) : "memory");
}
ONESEC_DEVICE void send(float2 x, float2* to, Gate* gate, int block) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, [%3];" ::"r"(address_in_cluster(to, block)), "f"(x.x),
               "f"(x.y), "r"(address_in_cluster(gate, block)) : "memory");
}
ONESEC_DEVICE void send(float4 x, float4* to, Gate* gate, int block) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(address_in_cluster(to, block)),
               "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w), "r"(address_in_cluster(gate, block)) : "memory");
}

// Brings `bytes` into the multiprocessor's own cache without waiting for them; by `count` threads, of which this is `index`.
ONESEC_DEVICE void touch(const void* from, int bytes, int index, int count) {
  for (int at = index * 128; at < bytes; at += count * 128) {
    [[maybe_unused]] uint32_t unused;
    asm volatile("ld.global.ca.b32 %0, [%1];" : "=r"(unused) : "l"(static_cast<const uint8_t*>(from) + at));
  }
}

// Values that other blocks of this launch have written, past the multiprocessor's own cache.
ONESEC_DEVICE float load_fresh(const float* at) { return __ldcg(at); }

// Dependent launches: what the kernel before wrote may be read only after wait_for_previous().
ONESEC_DEVICE void launch_dependents() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}
ONESEC_DEVICE void wait_for_previous() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
}

// The same number, of which the compiler does not know it: what follows from it is worked out where it is used, and not kept.
ONESEC_DEVICE int fresh(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

// 2^x, to two units in the last place.
ONESEC_DEVICE float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Two half values of a register, the first one low.
ONESEC_DEVICE float2 widen_halves(uint32_t pair) {
  float2 two;
  asm("{ .reg .b16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high; }"
      : "=f"(two.x), "=f"(two.y)
      : "r"(pair));
  return two;
}

// c[16x8] += a[16x32] * b[32x8] in exact integers: a unsigned, b signed bytes.
ONESEC_DEVICE void multiply(int (&c)[4], const uint32_t (&a)[4], uint2 b) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
}

// c[16x8] += a[16x16] * b[16x8] in float32, of two bf16 or half values a register, the first one low.
struct Bf16 {
  __device__ static void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
  __device__ static uint16_t round(float x) {
    uint16_t bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
  }
};
struct Half {
  __device__ static void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
  __device__ static uint16_t round(float x) {
    uint16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
  }
};
}  // namespace onesec::cuda
#endif
