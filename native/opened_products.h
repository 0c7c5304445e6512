// Plane products of many rows in the decode arithmetic: the codes of a panel are opened to bytes once, and meet all rows.
// Bits are those of `matmul`: the same integer sums, scaled and added in the same order.
// Included by kernels_avx512.cc inside its namespace.

constexpr int kPanelGroups = kPromptPanelColumns / kGroup;

struct OpenedGroup {  // one tile, one group of columns
  CacheLine codes[kGroup / 4];  // line i holds columns 4i..4i+3: byte 4r + c = code[r][4i + c]
  float step[kTileRows], minimum[kTileRows];
};
struct TokenGroup {  // one token, one group of columns: a line of PromptRows; members as in QuantRows
  int8_t q[kGroup];
  float scale, offset;
  int32_t residual, unused[5];
};
static_assert(sizeof(TokenGroup) == sizeof(CacheLine));
static_assert(sizeof(OpenedGroup) * kPanelGroups <= sizeof(CacheLine) * (kPromptPanelColumns / 2));  // prompt_scratch_lines

inline void quantize_token(const float* x, int cols, int row, const PromptRows& out) {
  for (int g = 0; g < out.groups(); ++g) {
    const GroupOfRow group = quantize_group(x + g * kGroup, cols - g * kGroup);
    auto* to = reinterpret_cast<TokenGroup*>(out.lines + (size_t(row / kTileRows) * size_t(out.groups()) + size_t(g)) * kTileRows + row % kTileRows);
    group.first.store_i8(to->q), group.second.store_i8(to->q + kGroup / 2);
    to->scale = group.scale, to->offset = group.offset, to->residual = group.residual;
  }
}

template <int Width>
inline void open_group(const uint8_t* hi, const uint8_t* lo, int half, OpenedGroup& out) {
#pragma GCC unroll 4
  for (int line = 0; line < 4; ++line) {
    const auto [first, second] = open_line<Width>(hi + (half * 4 + line) * 64, Width == 8 ? lo + (half * 4 + line) * 64 : nullptr);
    _mm512_store_si512(out.codes + 2 * line, first);
    _mm512_store_si512(out.codes + 2 * line + 1, second);
  }
  _mm512_store_ps(out.step, step_of<Width>(scales_of(hi, half)));
  _mm512_store_ps(out.minimum, widen_bytes(minima_of(hi, half)));
}

// T tiles of opened groups ([T][kPanelGroups]) against four tokens; sums [four tokens][sum_stride] lines.
template <int Width, int T>
inline void opened_block(const OpenedGroup* w, const TokenGroup* x, int groups, CacheLine* sums, size_t sum_stride, bool first) {
  __m512 acc[T][kPairRows];
  for (int t = 0; t < T; ++t)
    for (int m = 0; m < kPairRows; ++m) acc[t][m] = first ? _mm512_setzero_ps() : _mm512_load_ps(sums + size_t(m) * sum_stride + t);
  for (int g = 0; g < groups; ++g, ++w, x += kTileRows) {
    __m512i sum[T][kPairRows];
    for (int t = 0; t < T; ++t)
      for (int m = 0; m < kPairRows; ++m) sum[t][m] = Width == 8 ? _mm512_set1_epi32(x[m].residual) : _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int line = 0; line < kGroup / 4; ++line) {
      __m512i codes[T];
      for (int t = 0; t < T; ++t) codes[t] = _mm512_load_si512(w[t * kPanelGroups].codes + line);
      for (int m = 0; m < kPairRows; ++m) {
        const __m512i four = broadcast4(x[m].q + 4 * line);
        for (int t = 0; t < T; ++t) sum[t][m] = _mm512_dpbusd_epi32(sum[t][m], codes[t], four);
      }
    }
    for (int t = 0; t < T; ++t) {
      const __m512 step = _mm512_load_ps(w[t * kPanelGroups].step), minimum = _mm512_load_ps(w[t * kPanelGroups].minimum);
      for (int m = 0; m < kPairRows; ++m) acc[t][m] = add_group(acc[t][m], sum[t][m], step, x[m].scale, minimum, x[m].offset);
    }
  }
  for (int t = 0; t < T; ++t)
    for (int m = 0; m < kPairRows; ++m) _mm512_store_ps(sums + size_t(m) * sum_stride + t, acc[t][m]);
}

// scratch: opened groups [tiles][kPanelGroups], then sums [tokens][tiles].
template <int Width>
void opened_matmul(const PlaneMatrix& w, int tile_begin, int tile_end, const PromptRows& x, int rows, float* y, int ld_y,
                   const float* bias, bool add_to, CacheLine* scratch) {
  const int groups = x.groups();
  const auto bring = [](const uint8_t* p, int bytes) {
    for (int i = 0; i < bytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(p + i), _MM_HINT_T1);
  };
  for (int begin = tile_begin; begin < tile_end; begin += kPromptPanelTiles) {
    const int count = tile_end - begin < kPromptPanelTiles ? tile_end - begin : kPromptPanelTiles;
    auto* opened = reinterpret_cast<OpenedGroup*>(scratch);
    CacheLine* sums = scratch + size_t(count) * kPanelGroups * (sizeof(OpenedGroup) / sizeof(CacheLine));
    for (int g0 = 0; g0 < groups; g0 += kPanelGroups) {
      const int depth = groups - g0 < kPanelGroups ? groups - g0 : kPanelGroups;
      for (int t = 0; t < count; ++t) {
        const uint8_t* hi = w.hi_tile(begin + t) + size_t(g0 / 2) * kHiBytes;
        const uint8_t* lo = Width == 8 ? w.lo_tile(begin + t) + size_t(g0 / 2) * kLoBytes : nullptr;
        for (int g = 0; g < depth; ++g)
          open_group<Width>(hi + (g / 2) * kHiBytes, Width == 8 ? lo + (g / 2) * kLoBytes : nullptr, g % 2, opened[t * kPanelGroups + g]);
        const bool more = g0 + depth < groups;  // the panel after this one: further columns, else the tiles that follow
        const size_t away = more ? size_t(depth / 2) : size_t(count) * w.superblocks() - size_t(g0 / 2);
        bring(hi + away * kHiBytes, kPanelGroups / 2 * kHiBytes);
        if constexpr (Width == 8) bring(lo + away * kLoBytes, kPanelGroups / 2 * kLoBytes);
      }
      for (int t = 0; t < count; t += kPairTiles)
        for (int m = 0; m < rows; m += kPairRows) {
          const auto* tokens = reinterpret_cast<const TokenGroup*>(
              x.lines + (size_t(m / kTileRows) * size_t(groups) + size_t(g0)) * kTileRows + m % kTileRows);
          CacheLine* c = sums + size_t(m) * size_t(count) + t;
          const OpenedGroup* b = opened + t * kPanelGroups;
          if (t + 1 < count) opened_block<Width, kPairTiles>(b, tokens, depth, c, size_t(count), g0 == 0);
          else opened_block<Width, 1>(b, tokens, depth, c, size_t(count), g0 == 0);
        }
    }
    for (int m = 0; m < rows; ++m)
      for (int t = 0; t < count; ++t)
        give_product(_mm512_load_ps(sums + size_t(m) * size_t(count) + t), w.row_scale, bias, (begin + t) * kTileRows, y + size_t(m) * size_t(ld_y), add_to);
  }
}
