// A head's values as attention reads them: a warp has a head, some neighbouring values a lane, normed and turned.
#pragma once
#include "arguments.h"
#include "values.h"

namespace onesec::cuda {

// A lane's `Count` values of a head, from lane * Count on: normed where `weight` says so, and turned; zeros behind the head.
template <int Count>
ONESEC_DEVICE void turned(const Attention& a, const float* head, const float* weight, float eps, int position, int lane, float (&x)[Count]) {
  const int d = lane * Count;
  const bool inside = d < a.head_dim, turns = a.rotary && d < 2 * a.half;
  const int partner = turns ? (d < a.half ? d + a.half : d - a.half) : d;
  float y[Count] = {}, cosine[Count] = {}, sine[Count] = {};
#pragma unroll
  for (int i = 0; i < Count; ++i) x[i] = 0.0f;
  if (inside) load_floats(head + d, x);
  if (turns) {
    const float* angles = a.rotary + size_t(position) * (2 * a.half) + (d < a.half ? d : d - a.half);
    load_floats(head + partner, y);
    load_floats(angles, cosine);
    load_floats(angles + a.half, sine);
  }
  if (weight) {
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < Count; ++i) squares = fmaf(x[i], x[i], squares);
    const float factor = 1.0f / sqrtf(warp_sum(squares) / float(a.head_dim) + eps);
    if (inside) {
#pragma unroll
      for (int i = 0; i < Count; ++i) x[i] *= factor * weight[d + i], y[i] *= factor * weight[partner + i];
    }
  }
  if (!turns) return;
#pragma unroll
  for (int i = 0; i < Count; ++i) x[i] = d < a.half ? x[i] * cosine[i] - y[i] * sine[i] : x[i] * cosine[i] + y[i] * sine[i];
}

}  // namespace onesec::cuda
