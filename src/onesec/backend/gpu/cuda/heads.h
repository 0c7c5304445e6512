// A head's values as attention reads them: eight a lane, normed and turned.
#pragma once
#include "arguments.h"
#include "values.h"

namespace onesec::cuda {

// Eight values of a head: normed where `weight` says so, and turned. All of a head's lanes take part.
template <int L>
ONESEC_DEVICE void turned(const Attention& a, const float* head, const float* weight, float eps, int position, int lane, float (&x)[8]) {
  const int d = lane * 8;
  const bool inside = d < a.head_dim, turns = a.rotary && d < 2 * a.half;
  const int partner = turns ? (d < a.half ? d + a.half : d - a.half) : d;
  float y[8] = {};
#pragma unroll
  for (int i = 0; i < 8; ++i) x[i] = 0.0f;
  if (inside) load_eight(head + d, x);
  if (turns) load_eight(head + partner, y);
  if (weight) {
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) squares = fmaf(x[i], x[i], squares);
#pragma unroll
    for (int distance = L / 2; distance > 0; distance /= 2) squares += __shfl_xor_sync(kAllLanes, squares, distance);
    const float factor = 1.0f / sqrtf(squares / float(a.head_dim) + eps);
    if (inside) {
#pragma unroll
      for (int i = 0; i < 8; ++i) x[i] *= factor * weight[d + i], y[i] *= factor * weight[partner + i];
    }
  }
  if (!turns) return;
  const float* angles = a.rotary + size_t(position) * (2 * a.half) + d % a.half;
  float cosine[8], sine[8];
  load_eight(angles, cosine);
  load_eight(angles + a.half, sine);
#pragma unroll
  for (int i = 0; i < 8; ++i) x[i] = d < a.half ? x[i] * cosine[i] - y[i] * sine[i] : x[i] * cosine[i] + y[i] * sine[i];
}

}  // namespace onesec::cuda
