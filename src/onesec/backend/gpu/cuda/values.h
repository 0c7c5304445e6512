// Neighbouring values of a lane, loaded and stored at once, as floats and as halves; and what a warp's lanes have together.
#pragma once
#include "device.h"

namespace onesec::cuda {

ONESEC_DEVICE void load_floats(const float* from, float (&to)[2]) {
  const float2 two = *reinterpret_cast<const float2*>(from);
  to[0] = two.x, to[1] = two.y;
}
ONESEC_DEVICE void load_floats(const float* from, float (&to)[4]) {
  const float4 four = *reinterpret_cast<const float4*>(from);
  to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
}
ONESEC_DEVICE void load_floats(const float* from, float (&to)[8]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float4 four = reinterpret_cast<const float4*>(from)[i];
    to[4 * i] = four.x, to[4 * i + 1] = four.y, to[4 * i + 2] = four.z, to[4 * i + 3] = four.w;
  }
}

ONESEC_DEVICE void load_words(const void* from, uint32_t (&to)[1]) { to[0] = *static_cast<const uint32_t*>(from); }
ONESEC_DEVICE void load_words(const void* from, uint32_t (&to)[2]) {
  const uint2 two = *static_cast<const uint2*>(from);
  to[0] = two.x, to[1] = two.y;
}
ONESEC_DEVICE void load_words(const void* from, uint32_t (&to)[4]) {
  const uint4 four = *static_cast<const uint4*>(from);
  to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
}
ONESEC_DEVICE void store_words(void* to, const uint32_t (&words)[1]) { *static_cast<uint32_t*>(to) = words[0]; }
ONESEC_DEVICE void store_words(void* to, const uint32_t (&words)[2]) { *static_cast<uint2*>(to) = {words[0], words[1]}; }
ONESEC_DEVICE void store_words(void* to, const uint32_t (&words)[4]) { *static_cast<uint4*>(to) = {words[0], words[1], words[2], words[3]}; }

ONESEC_DEVICE void store_floats(float* to, const float (&x)[2]) { *reinterpret_cast<float2*>(to) = {x[0], x[1]}; }
ONESEC_DEVICE void store_floats(float* to, const float (&x)[4]) { *reinterpret_cast<float4*>(to) = {x[0], x[1], x[2], x[3]}; }
ONESEC_DEVICE void store_floats(float* to, const float (&x)[8]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) reinterpret_cast<float4*>(to)[i] = {x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3]};
}

template <int Count>
ONESEC_DEVICE void load_halves(const uint16_t* from, float (&to)[Count]) {
  uint32_t words[Count / 2];
  load_words(from, words);
#pragma unroll
  for (int i = 0; i < Count / 2; ++i) {
    const float2 two = widen_halves(words[i]);
    to[2 * i] = two.x, to[2 * i + 1] = two.y;
  }
}

template <class Type, int Count>
ONESEC_DEVICE void round_values(const float (&x)[Count], uint32_t (&words)[Count / 2]) {
#pragma unroll
  for (int i = 0; i < Count / 2; ++i) words[i] = Type::round(x[2 * i]) | static_cast<uint32_t>(Type::round(x[2 * i + 1])) << 16;
}

ONESEC_DEVICE float warp_sum(float x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(kAllLanes, x, distance);
  return x;
}

}  // namespace onesec::cuda
