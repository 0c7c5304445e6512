// The products of prompt chunks over emulated tiles, so that a processor without AMX can test them. Test builds only.
#include <immintrin.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels.h"

namespace onesec::amx_emulated {
namespace {
#include "amx_products.h"
#include "amx_tiles.h"
}  // namespace

extern const PromptKernels products;
constinit const PromptKernels products = {round_row, tile_matmul<EmulatedTiles, 4>, tile_matmul<EmulatedTiles, 8>, false};
}  // namespace onesec::amx_emulated
