// Plane products over 256-bit registers: half a tile (eight rows) is a register, and both halves meet an activation that
// was broadcast once. `Dot` multiplies unsigned codes by signed activations:
//   kRows<Width>                             activation rows that a tile meets at once, as far as registers go
//   kPlanes<Width>                           registers that four columns of eight rows take, and their sums
//   open<Width>(h, l, last, plane)           one of those: the first or last four columns of a line of both planes
//   start<Width>(residual)                   the integer sum of a group of 32 columns and eight rows, before any
//   add(sum, codes, q)                       four columns more; q: their activations, broadcast
//   steps<Width>(scales)                     what a unit of eight rows' sums is worth, from their scales in 32 bits
//   worth<Width>(high, low, step, residual)  the sums in units of the row; of one register: it is both
// Included inside an anonymous namespace, by files built for AVX2 and FMA at least.

inline __m256i broadcast4(const int8_t* q) {
  int32_t four;
  std::memcpy(&four, q, 4);
  return _mm256_set1_epi32(four);
}

inline __m256i widen_bytes(const uint8_t* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}

inline __m256i load_line(const uint8_t* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
inline __m256i low_nibbles(__m256i line) { return _mm256_and_si256(line, _mm256_set1_epi8(0x0f)); }
inline __m256i high_nibbles(__m256i line) { return low_nibbles(_mm256_srli_epi16(line, 4)); }

// One half of a tile, complete: rows `at` on of y.
inline void give_half(__m256 acc, const float* row_scale, const float* bias, int at, float* y, bool add_to) {
  const __m256 unit = _mm256_loadu_ps(row_scale + at);
  __m256 value = bias ? _mm256_fmadd_ps(acc, unit, _mm256_loadu_ps(bias + at)) : _mm256_mul_ps(acc, unit);
  if (add_to) value = _mm256_add_ps(_mm256_loadu_ps(y + at), value);
  _mm256_storeu_ps(y + at, value);
}

// Pass `pass` of `passes` over a tile: it brings near the superblocks of the next tile that are its turn.
struct Ahead { int pass, passes; };

// Four columns of some tiles, opened; offset: of their line. The registers of the first tile's first half, of its second, ...
template <class Dot, int Width, int T>
inline void open_four(const uint8_t* const (&hi)[T], const uint8_t* const (&lo)[T], int offset, bool last,
                      __m256i (&codes)[2 * T * Dot::template kPlanes<Width>]) {
  constexpr int kPlanes = Dot::template kPlanes<Width>;
#pragma GCC unroll 8
  for (int s = 0; s < 2 * T; ++s) {
    const __m256i h = load_line(hi[s / 2] + offset + s % 2 * 32), l = Width == 8 ? load_line(lo[s / 2] + offset + s % 2 * 32) : h;
#pragma GCC unroll 2
    for (int p = 0; p < kPlanes; ++p) codes[s * kPlanes + p] = Dot::template open<Width>(h, l, last, p);
  }
}

// Four columns of a tile against four activations of each of M rows, `ld` bytes apart. Loops nest no deeper than two, and
// are told to unroll: gcc keeps the sums in memory else.
template <class Dot, int M, int R>
inline void meet(__m256i (&sum)[M][R], const __m256i (&codes)[R], const int8_t* q, size_t ld) {
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
    const __m256i four = broadcast4(q + size_t(m) * ld);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) Dot::add(sum[m][i], codes[i], four);
  }
}

// Superblocks of a tile that meet all rows before the next ones do: as many as a first-level cache holds, beside those rows.
// What the ones before left lies in `sums`, [rows][16].
struct Panel { int begin, end; float* sums; };
constexpr int kPanelBlocks = 16;  // 17 KiB at 8 bits

// T tiles, `apart` tiles from one to the next, against M activation rows.
template <class Dot, int Width, int T, int M>
inline void tile_product(const PlaneMatrix& w, int tile, int apart, Panel panel, Ahead ahead, const QuantRows& x, float* y,
                         int ld_y, const float* bias, bool add_to) {
  constexpr int kPlanes = Dot::template kPlanes<Width>, kHalves = 2 * T;
  const uint8_t *hi[T], *lo[T];
  for (int t = 0; t < T; ++t) {
    hi[t] = w.hi_tile(tile + t * apart) + size_t(panel.begin) * kHiBytes;
    lo[t] = Width == 8 ? w.lo_tile(tile + t * apart) + size_t(panel.begin) * kLoBytes : nullptr;
  }
  const int cols = x.cols, groups = x.groups();
  const auto bring = [](const uint8_t* p, int bytes) {
    for (int i = 0; i < bytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(p + i), _MM_HINT_T0);
  };
  __m256 acc[kHalves][M];
  for (int s = 0; s < kHalves; ++s)
    for (int m = 0; m < M; ++m) acc[s][m] = panel.begin ? _mm256_loadu_ps(panel.sums + m * kTileRows + s * 8) : _mm256_setzero_ps();
  int until = ahead.pass;  // superblocks until the next one to bring
  for (int block = panel.begin; block < panel.end; ++block) {
    if (until-- == 0) {
      bring(hi[0] + w.superblocks() * kHiBytes, kHiBytes);
      if constexpr (Width == 8) bring(lo[0] + w.superblocks() * kLoBytes, kLoBytes);
      until = ahead.passes - 1;
    }
    for (int half = 0; half < 2; ++half) {
      const int g = 2 * block + half;
      __m256i sum[M][kHalves * kPlanes];
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
        for (int i = 0; i < kHalves * kPlanes; ++i) sum[m][i] = Dot::template start<Width>(x.residual[m * groups + g]);
#pragma GCC unroll 8
      for (int four = 0; four < 8; ++four) {
        __m256i codes[kHalves * kPlanes];
        open_four<Dot, Width, T>(hi, lo, (half * 4 + four / 2) * 64, four % 2, codes);
        meet<Dot>(sum, codes, x.q + g * kGroup + four * 4, size_t(cols));
      }
#pragma GCC unroll 8
      for (int s = 0; s < kHalves; ++s) {
        const uint8_t* scales = hi[s / 2] + kScaleLine + s % 2 * 8;
        const auto step = Dot::template steps<Width>(widen_bytes(scales + half * kTileRows));
        const __m256 minimum = _mm256_cvtepi32_ps(widen_bytes(scales + (2 + half) * kTileRows));
#pragma GCC unroll 8
        for (int m = 0; m < M; ++m) {
          const int at = m * groups + g;
          const __m256i high = sum[m][s * kPlanes], low = sum[m][s * kPlanes + kPlanes - 1];
          const __m256 product = Dot::template worth<Width>(high, low, step, x.residual[at]);
          acc[s][m] = _mm256_fmadd_ps(product, _mm256_set1_ps(x.scale[at]), acc[s][m]);
          acc[s][m] = _mm256_fmadd_ps(minimum, _mm256_set1_ps(x.offset[at]), acc[s][m]);
        }
      }
    }
    for (int t = 0; t < T; ++t) hi[t] += kHiBytes, lo[t] += Width == 8 ? kLoBytes : 0;
  }
  for (int s = 0; s < kHalves; ++s)
    for (int m = 0; m < M; ++m) {
      if (panel.end < w.superblocks()) _mm256_storeu_ps(panel.sums + m * kTileRows + s * 8, acc[s][m]);
      else give_half(acc[s][m], w.row_scale, bias, (tile + s / 2 * apart) * kTileRows + s % 2 * 8, y + size_t(m) * ld_y, add_to);
    }
}

// One tile against a few rows, as many at once as registers hold.
template <class Dot, int Width>
inline void tile_rows(const PlaneMatrix& w, int tile, Panel panel, const QuantRows& x, int rows, float* y, int ld_y,
                      const float* bias, bool add_to) {
  constexpr int kMost = Dot::template kRows<Width>;
  // A batch computes so long between two lines that the hardware's prefetcher loses the stream: each pass over a tile
  // brings its part of the next one.
  Ahead ahead = {0, (rows + kMost - 1) / kMost};
  for (int m = 0; m < rows; m += kMost, ++ahead.pass, panel.sums += kMost * kTileRows) {
    const QuantRows some = x.from(m);
    float* out = y + size_t(m) * ld_y;
    const int left = rows - m;
    if (left >= kMost) tile_product<Dot, Width, 1, kMost>(w, tile, 0, panel, ahead, some, out, ld_y, bias, add_to);
    else if (left == 1) tile_product<Dot, Width, 1, 1>(w, tile, 0, panel, ahead, some, out, ld_y, bias, add_to);
    else if (left == 2) tile_product<Dot, Width, 1, 2>(w, tile, 0, panel, ahead, some, out, ld_y, bias, add_to);
    else tile_product<Dot, Width, 1, 3>(w, tile, 0, panel, ahead, some, out, ld_y, bias, add_to);
  }
}

template <class Dot, int Width>
void matmul(const PlaneMatrix& w, int tile_begin, int tile_end, const QuantRows& x, int rows, float* y, int ld_y,
            const float* bias, bool add_to) {
  constexpr int kMany = 64;  // rows whose sums are kept between panels
  float sums[kMany * kTileRows];
  const int blocks = w.superblocks();
  if (rows == 1) {
    // At the speed of memory: two streams of tiles, half of them each, which the hardware's prefetcher serves better than
    // one, and which software prefetch only slows.
    const Panel whole = {0, blocks, sums};
    const Ahead nothing = {blocks, 1};
    const int count = tile_end - tile_begin, apart = count / 2;
    for (int tile = tile_begin; tile < tile_begin + apart; ++tile)
      tile_product<Dot, Width, 2, 1>(w, tile, apart, whole, nothing, x, y, ld_y, bias, add_to);
    if (count % 2) tile_product<Dot, Width, 1, 1>(w, tile_end - 1, 0, whole, nothing, x, y, ld_y, bias, add_to);
    return;
  }
  const int depth = rows <= Dot::template kRows<Width> ? blocks : kPanelBlocks;  // one pass needs no second look
  for (int tile = tile_begin; tile < tile_end; ++tile)
    for (int m = 0; m < rows; m += kMany)
      for (int begin = 0; begin < blocks; begin += depth) {
        const Panel panel = {begin, begin + depth < blocks ? begin + depth : blocks, sums};
        tile_rows<Dot, Width>(w, tile, panel, x.from(m), rows - m < kMany ? rows - m : kMany, y + size_t(m) * ld_y, ld_y, bias, add_to);
      }
}
