// Eight neighbouring values of a thread, as floats and as halves.
#pragma once
#include "device.h"

namespace onesec::cuda {

ONESEC_DEVICE void load_eight(const float* from, float (&to)[8]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float4 four = reinterpret_cast<const float4*>(from)[i];
    to[4 * i] = four.x, to[4 * i + 1] = four.y, to[4 * i + 2] = four.z, to[4 * i + 3] = four.w;
  }
}

ONESEC_DEVICE void eight_floats(uint4 packed, float (&out)[8]) {
  const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 two = widen_halves(words[i]);
    out[2 * i] = two.x, out[2 * i + 1] = two.y;
  }
}

ONESEC_DEVICE uint4 eight_halves(const float (&x)[8]) {
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) words[i] = Half::round(x[2 * i]) | static_cast<uint32_t>(Half::round(x[2 * i + 1])) << 16;
  return {words[0], words[1], words[2], words[3]};
}

}  // namespace onesec::cuda
