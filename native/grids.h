// Grids: which pairs of a scale and a minimum a group of 32 weights may take. Pure integers; knows no data layout.
#pragma once
#include "kernels.h"

namespace onesec {

constexpr int kMostGrids = 49;

// A row's unit: the least with which every group's range [low, high], zero inside, fits 15 steps of at most 255 units
// above a minimum of at most 255.
float row_unit(const float* low, const float* high, int groups);

// Grids that hold [low, high] (units of the row, low <= 0): every value lies within a residual's reach of a code.
// The first one, with the range rounded outwards to 15 steps, always exists. Returns how many.
int grids_of(float low, float high, Grid* grids);

}  // namespace onesec
