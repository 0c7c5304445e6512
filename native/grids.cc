#include "grids.h"

#include <algorithm>
#include <cmath>

namespace onesec {
namespace {

// A residual reaches from 8 sixteenths of a step below a code to 7 above, and rounding adds half a sixteenth.
constexpr float kBelow = 8.5f / 16.0f, kAbove = 15.0f + 7.5f / 16.0f;
constexpr int kScales = 8, kMinima = 6;  // that are tried, evenly spaced over those that hold the range
constexpr float kFewestSteps = 14.0f;    // of a range: grids down to 13 steps, tried too, gained nothing
static_assert(kMostGrids == 1 + kScales * kMinima);

}  // namespace

float row_unit(const float* low, const float* high, int groups) {
  float step = 0.0f, minimum = 0.0f;
  for (int g = 0; g < groups; ++g) {
    step = std::max(step, (high[g] - low[g]) / 15.0f);
    minimum = std::max(minimum, -low[g]);
  }
  return std::max(step / 255.0f, minimum / (255.0f * kMinimumUnit));
}

int grids_of(float low, float high, Grid* grids) {
  constexpr float slack = 1e-4f;  // for the roundings of a division by the unit
  const int minimum = std::clamp(int(std::ceil(-low / kMinimumUnit - slack)), 0, 255);
  const int scale = std::clamp(int(std::ceil((high + float(kMinimumUnit * minimum)) / 15.0f - slack)), 1, 255);
  int count = 0;
  grids[count++] = {scale, minimum};
  const int finest = std::clamp(int(std::ceil((high - low) / (kAbove + kBelow) - slack)), 1, 255);
  const int coarsest = std::clamp(int((high - low) / kFewestSteps), std::max(finest, scale), 255);
  const int scales = std::min(kScales, coarsest - finest + 1);
  for (int i = 0; i < scales; ++i) {
    const int s = scales == 1 ? finest : finest + (coarsest - finest) * i / (scales - 1);
    const int least = std::max(0, int(std::ceil((-low - kBelow * float(s)) / kMinimumUnit - slack)));
    const int most = std::min(255, int(std::floor((kAbove * float(s) - high) / kMinimumUnit + slack)));
    const int minima = std::min(kMinima, most - least + 1);
    for (int j = 0; j < minima; ++j) grids[count++] = {s, minima == 1 ? least : least + (most - least) * j / (minima - 1)};
  }
  return count;
}

}  // namespace onesec
