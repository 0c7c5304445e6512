// The machine's own instructions behind plain names: tensor-core products, asynchronous copies, dependent launches.
// Without nvcc the same names come from an emulation, so that the kernels' source runs, and is tested, on a CPU.
#pragma once
#include <cstddef>
#include <cstdint>

#ifndef __CUDACC__
#include "cuda_emulation.h"
#else
#include <cuda_runtime.h>

#define ONESEC_DEVICE static __device__ __forceinline__
#define ONESEC_SHARED(name) extern __shared__ __align__(128) uint8_t name[]

namespace onesec::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;

// Weights are read once a step: they leave the L2 cache first, so that activations and the KV cache stay.
ONESEC_DEVICE uint64_t evict_first() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

// Where asynchronous copies go.
using SharedAddress = uint32_t;
ONESEC_DEVICE SharedAddress shared_address(const void* shared) { return static_cast<SharedAddress>(__cvta_generic_to_shared(shared)); }
// The same address as a lane's own. From one that is the same for the whole warp, ptxas 13.0 may make copies whose cache
// policy is garbage: an illegal instruction. After a shuffle it takes the address for the lane's.
ONESEC_DEVICE SharedAddress of_lane(SharedAddress to, int lane) { return __shfl_sync(kAllLanes, to, lane); }

// 16 bytes from global into shared memory.
ONESEC_DEVICE void copy_async(SharedAddress to, const void* global, uint64_t policy) {
  asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "l"(policy) : "memory");
}
ONESEC_DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int Pending>  // waits until at most that many of this thread's youngest groups are under way
ONESEC_DEVICE void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

// How many have arrived at a counter before. What was written before is seen by those who arrive afterwards.
ONESEC_DEVICE int arrive(int32_t* counter) {
  int before;
  asm volatile("atom.acq_rel.gpu.global.add.s32 %0, [%1], 1;" : "=r"(before) : "l"(counter) : "memory");
  return before;
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
ONESEC_DEVICE float2 load_fresh(const float2* at) { return __ldcg(at); }
ONESEC_DEVICE float4 load_fresh(const float4* at) { return __ldcg(at); }

// Dependent launches: what the kernel before wrote may be read only after wait_for_previous().
ONESEC_DEVICE void launch_dependents() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
ONESEC_DEVICE void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
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
