// AMX tiles with bf16 for prompt chunks: the tiles themselves, leave to use them, and the check that they compute what
// the manual says. Built for AVX-512 with BF16; the tile instructions are written out, register numbers and all.
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels.h"

namespace onesec::amx {
namespace {
#include "amx_products.h"
#include "amx_tiles.h"

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);
constexpr TileConfig kConfig;  // data, not stores: nothing can be late when it is loaded

// The calling thread's tiles: configured here, and released so that no switch of threads has to save them. Every
// instruction that reads or writes memory says so to the compiler, which the intrinsics of gcc 12 do not.
struct HardwareTiles {
  HardwareTiles() { asm volatile("ldtilecfg %0" ::"m"(kConfig) : "memory"); }
  ~HardwareTiles() { asm volatile("tilerelease" ::: "memory"); }
  HardwareTiles(const HardwareTiles&) = delete;
  HardwareTiles& operator=(const HardwareTiles&) = delete;

  template <int T> void zero() { asm volatile("tilezero %%tmm%c0" ::"i"(T)); }
  template <int T> void load(const void* lines) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(lines), "r"(int64_t(64)), "i"(T) : "memory");
  }
  template <int T> void store(void* lines) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(lines), "r"(int64_t(64)), "i"(T) : "memory");
  }
  template <int C, int A, int B> void dot() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
  }
};

constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA

bool allowed() { return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0; }

uint16_t to_bf16(float x) {  // of numbers that fit
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return uint16_t(bits >> 16);
}

// Two steps of every sum that panel_block keeps, on one table of tiles. a, b: 2 tiles each; sums: 4.
template <class Tiles>
void two_steps(const CacheLine* a, const CacheLine* b, CacheLine* sums) {
  Tiles tiles;
  for (int step = 0; step < 2; ++step)
    panel_block<Tiles, 2, 2>(tiles, a, kTileLines, b, 1, sums, 2 * kTileLines, step == 0);
}

// Small whole numbers, whose sums are exact in any order: one bit of difference condemns. Then numbers of many sizes:
// the order inside one instruction is the processor's own, so these may differ by what rounding can do.
bool computes_as_emulated() {
  CacheLine a[2 * kTileLines], b[kPanelGroups * kTileLines + kTileLines], got[4 * kTileLines], expected[4 * kTileLines];
  for (int round = 0; round < 2; ++round) {
    uint32_t state = 2463534242u;
    float largest = 0.0f;
    const auto fill = [&](CacheLine* lines, int count) {
      for (int i = 0; i < count * 32; ++i) {
        state ^= state << 13, state ^= state >> 17, state ^= state << 5;
        const float value = round == 0 ? float(int(state % 33) - 16) : std::ldexp(float(int(state % 255) - 127), int(state >> 28) - 12);
        largest = std::fabs(value) > largest ? std::fabs(value) : largest;
        const uint16_t half = to_bf16(value);
        std::memcpy(lines->bytes + 2 * i, &half, 2);
      }
    };
    fill(a, 2 * kTileLines), fill(b, kPanelGroups * kTileLines + kTileLines);
    two_steps<HardwareTiles>(a, b, got);
    two_steps<EmulatedTiles>(a, b, expected);
    if (round == 0) {
      if (std::memcmp(got, expected, sizeof got) != 0) return false;
      continue;
    }
    const float bound = 64.0f * 64.0f * largest * largest * std::numeric_limits<float>::epsilon();  // terms * steps * size
    for (int i = 0; i < 4 * kTileLines; ++i) {
      const __m512 apart = _mm512_sub_ps(_mm512_load_ps(got + i), _mm512_load_ps(expected + i));
      if (_mm512_cmp_ps_mask(_mm512_abs_ps(apart), _mm512_set1_ps(bound), _CMP_LE_OQ) != 0xffff) return false;
    }
  }
  return true;
}
}  // namespace

extern const PromptKernels products;
constinit const PromptKernels products = {round_row, tile_matmul<HardwareTiles, 4>, tile_matmul<HardwareTiles, 8>, false};

// Why a processor that has the tiles cannot use them; null where it can.
const char* refusal() {
  if (!allowed()) return "the kernel does not grant tile state (Linux 5.16 or later is needed)";
  if (!computes_as_emulated()) return "the tiles do not compute what their emulation computes";
  return nullptr;
}
}  // namespace onesec::amx
