// Plane products of prompt chunks over tiles: weights opened once to bf16, activations rounded to bf16, sums in float
// along K inside the tiles. `Tiles` is the hardware or its emulation. Included inside an anonymous namespace, by files
// built for AVX-512 with BF16.
//
// A group of 32 columns is one tile deep. Activations: 16 tokens x 32 columns. Weights: 16 pairs of columns x 16 rows
// x 2. A sum takes the groups in ascending order whatever the blocking is, so a row's bits depend on nothing beside it.

constexpr int kPanelGroups = kPromptPanelColumns / kGroup;
constexpr int kTileLines = 16;

inline __m512 widen_bytes(const uint8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p))));
}

// Values without row_scale, (scale * code - 8 * minimum), exact in float and then rounded to bf16.
template <int Width>
inline void open_group(const uint8_t* hi, const uint8_t* lo, int half, CacheLine* out) {
  const __m512 digits = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                              5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const __m512 scale = widen_bytes(hi + kScaleLine + half * kTileRows);
  const __m512 fine = _mm512_mul_ps(scale, _mm512_set1_ps(0.0625f));
  const __m512 lowest = _mm512_mul_ps(widen_bytes(hi + kScaleLine + (2 + half) * kTileRows), _mm512_set1_ps(-float(kMinimumUnit)));
  const __m512 base = Width == 8 ? _mm512_fnmadd_ps(fine, _mm512_set1_ps(float(kResidualZero)), lowest) : lowest;
  for (int line = 0; line < 4; ++line) {
    const __m512i h = _mm512_load_si512(hi + (half * 4 + line) * 64);
    const __m512i l = Width == 8 ? _mm512_load_si512(lo + (half * 4 + line) * 64) : h;
    // Column c of the line's eight: byte c % 4 of a row's four, its lower or its upper half. The permutation reads
    // the four lowest bits of an index alone.
    const auto column = [&](int c) {
      const unsigned shift = unsigned(8 * (c % 4) + 4 * (c / 4));
      const __m512 high = _mm512_permutexvar_ps(_mm512_srli_epi32(h, shift), digits);
      if constexpr (Width == 8)
        return _mm512_fmadd_ps(scale, high, _mm512_fmadd_ps(fine, _mm512_permutexvar_ps(_mm512_srli_epi32(l, shift), digits), base));
      else
        return _mm512_fmadd_ps(scale, high, base);
    };
#pragma GCC unroll 4
    for (int pair = 0; pair < 4; ++pair) {
      const __m512bh both = _mm512_cvtne2ps_pbh(column(2 * pair + 1), column(2 * pair));
      _mm512_store_si512(out + line * 4 + pair, _mm512_permutexvar_epi16(interleave, (__m512i)both));
    }
  }
}

// M x N tiles of sums (16 tokens x 16 rows each) over the groups of one panel. Tiles 0..3 hold sums, 4..5 activations,
// 6..7 weights. sums: [M][sum_stride] lines; a: [M][a_stride]; b: [N][kPanelGroups * kTileLines].
template <class Tiles, int M, int N>
inline void panel_block(Tiles& tiles, const CacheLine* a, size_t a_stride, const CacheLine* b, int groups, CacheLine* sums,
                        size_t sum_stride, bool first) {
  constexpr size_t b_stride = size_t(kPanelGroups) * kTileLines;
  if (first) {
    tiles.template zero<0>();
    if constexpr (N == 2) tiles.template zero<1>();
    if constexpr (M == 2) tiles.template zero<2>();
    if constexpr (M == 2 && N == 2) tiles.template zero<3>();
  } else {
    tiles.template load<0>(sums);
    if constexpr (N == 2) tiles.template load<1>(sums + kTileLines);
    if constexpr (M == 2) tiles.template load<2>(sums + sum_stride);
    if constexpr (M == 2 && N == 2) tiles.template load<3>(sums + sum_stride + kTileLines);
  }
  for (int g = 0; g < groups; ++g, a += kTileLines, b += kTileLines) {
    tiles.template load<4>(a);
    tiles.template load<6>(b);
    tiles.template dot<0, 4, 6>();
    if constexpr (N == 2) {
      tiles.template load<7>(b + b_stride);
      tiles.template dot<1, 4, 7>();
    }
    if constexpr (M == 2) {
      tiles.template load<5>(a + a_stride);
      tiles.template dot<2, 5, 6>();
      if constexpr (N == 2) tiles.template dot<3, 5, 7>();
    }
  }
  tiles.template store<0>(sums);
  if constexpr (N == 2) tiles.template store<1>(sums + kTileLines);
  if constexpr (M == 2) tiles.template store<2>(sums + sum_stride);
  if constexpr (M == 2 && N == 2) tiles.template store<3>(sums + sum_stride + kTileLines);
}

// scratch: opened weights [count][kPanelGroups][16 lines], then sums [token blocks][count][16 lines].
template <class Tiles, int Width>
void tile_matmul(const PlaneMatrix& w, int tile_begin, int tile_end, const PromptRows& x, int rows, float* y, int ld_y,
                 const float* bias, bool add_to, CacheLine* scratch) {
  Tiles tiles;
  const int groups = x.groups(), blocks = (rows + kTileLines - 1) / kTileLines;
  const size_t a_stride = size_t(groups) * kTileLines;
  for (int begin = tile_begin; begin < tile_end; begin += kPromptPanelTiles) {
    const int count = tile_end - begin < kPromptPanelTiles ? tile_end - begin : kPromptPanelTiles;
    CacheLine* opened = scratch;
    CacheLine* sums = scratch + size_t(count) * kPanelGroups * kTileLines;
    const size_t sum_stride = size_t(count) * kTileLines;
    for (int g0 = 0; g0 < groups; g0 += kPanelGroups) {
      const int depth = groups - g0 < kPanelGroups ? groups - g0 : kPanelGroups;
      for (int t = 0; t < count; ++t)
        for (int g = 0; g < depth; ++g) {
          const size_t block = size_t((g0 + g) / 2);
          open_group<Width>(w.hi_tile(begin + t) + block * kHiBytes,
                            Width == 8 ? w.lo_tile(begin + t) + block * kLoBytes : nullptr, (g0 + g) % 2,
                            opened + (size_t(t) * kPanelGroups + size_t(g)) * kTileLines);
        }
      for (int m = 0; m < blocks; m += 2) {
        const CacheLine* a = x.lines + (size_t(m) * size_t(groups) + size_t(g0)) * kTileLines;
        for (int t = 0; t < count; t += 2) {
          const CacheLine* b = opened + size_t(t) * kPanelGroups * kTileLines;
          CacheLine* c = sums + size_t(m) * sum_stride + size_t(t) * kTileLines;
          const bool two = t + 1 < count;
          if (m + 1 < blocks) {
            if (two) panel_block<Tiles, 2, 2>(tiles, a, a_stride, b, depth, c, sum_stride, g0 == 0);
            else panel_block<Tiles, 2, 1>(tiles, a, a_stride, b, depth, c, sum_stride, g0 == 0);
          } else {
            if (two) panel_block<Tiles, 1, 2>(tiles, a, a_stride, b, depth, c, sum_stride, g0 == 0);
            else panel_block<Tiles, 1, 1>(tiles, a, a_stride, b, depth, c, sum_stride, g0 == 0);
          }
        }
      }
    }
    for (int t = 0; t < count; ++t) {
      const int at = (begin + t) * kTileRows;
      const __m512 unit = _mm512_loadu_ps(w.row_scale + at);
      const __m512 start = bias ? _mm512_loadu_ps(bias + at) : _mm512_setzero_ps();
      for (int m = 0; m < rows; ++m) {
        const __m512 sum = _mm512_load_ps(sums + size_t(m / kTileLines) * sum_stride + size_t(t * kTileLines + m % kTileLines));
        float* out = y + size_t(m) * size_t(ld_y) + at;
        __m512 value = _mm512_fmadd_ps(sum, unit, start);
        if (add_to) value = _mm512_add_ps(_mm512_loadu_ps(out), value);
        _mm512_storeu_ps(out, value);
      }
    }
  }
}

inline void round_row(const float* x, int cols, int row, const PromptRows& out) {
  for (int g = 0; g < out.groups(); ++g) {
    __m512 part[2];
    for (int i = 0; i < 2; ++i) {
      const int left = cols - g * kGroup - i * 16;
      const __mmask16 mask = left >= 16 ? __mmask16(0xffff) : left > 0 ? __mmask16((1u << left) - 1) : __mmask16(0);
      part[i] = mask ? _mm512_maskz_loadu_ps(mask, x + g * kGroup + i * 16) : _mm512_setzero_ps();
    }
    const __m512bh both = _mm512_cvtne2ps_pbh(part[1], part[0]);
    _mm512_store_si512(out.lines + (size_t(row / kTileLines) * size_t(out.groups()) + size_t(g)) * kTileLines + row % kTileLines,
                       (__m512i)both);
  }
}
