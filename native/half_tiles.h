// Plane products over 256-bit registers: half a tile (eight rows) is a register. `Dot` multiplies unsigned codes by signed
// activations:
//   kRows<Width>                        activation rows that a tile meets at once, as far as registers go
//   Codes<Width>, open<Width>(h, l)     one line of both planes, opened; its first four columns and its last four
//   Sum<Width>, start<Width>(residual)  the integer sum of a group of 32 columns and eight rows
//   add(sum, codes, left, right)        eight columns more; left and right: four activations each, broadcast
//   total(sum, residual)                the sum in 32 bits
// Included inside an anonymous namespace, by files built for AVX2 and FMA at least.

inline __m256i broadcast4(const int8_t* q) {
  int32_t four;
  std::memcpy(&four, q, 4);
  return _mm256_set1_epi32(four);
}

inline __m256 widen_bytes(const uint8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

inline __m256i low_nibbles(__m256i line) { return _mm256_and_si256(line, _mm256_set1_epi8(0x0f)); }
inline __m256i high_nibbles(__m256i line) { return low_nibbles(_mm256_srli_epi16(line, 4)); }

// Pass `pass` of `passes` over a tile: it brings near the superblocks of the next tile that are its turn.
struct Ahead { int pass, passes; };

// Both halves of a tile against M activation rows.
template <class Dot, int Width, int M>
inline void tile_product(const PlaneMatrix& w, int tile, Ahead ahead, const QuantRows& x, float* y, int ld_y, const float* bias,
                         bool add_to) {
  const uint8_t* hi = w.hi_tile(tile);
  const uint8_t* lo = Width == 8 ? w.lo_tile(tile) : nullptr;
  const int cols = x.cols, groups = x.groups();
  const auto line_of = [](const uint8_t* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); };
  const auto bring = [](const uint8_t* p, int bytes) {
    for (int i = 0; i < bytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(p + i), _MM_HINT_T0);
  };
  __m256 acc[2][M];
  for (int s = 0; s < 2; ++s)
    for (int m = 0; m < M; ++m) acc[s][m] = _mm256_setzero_ps();
  int until = ahead.pass;  // superblocks until the next one to bring
  for (int block = 0; block < w.superblocks(); ++block, hi += kHiBytes, lo += Width == 8 ? kLoBytes : 0) {
    if (until-- == 0) {
      bring(hi + w.superblocks() * kHiBytes, kHiBytes);
      if constexpr (Width == 8) bring(lo + w.superblocks() * kLoBytes, kLoBytes);
      until = ahead.passes - 1;
    }
    for (int half = 0; half < 2; ++half) {
      const int g = 2 * block + half;
      typename Dot::template Sum<Width> sum[2][M];
      for (int s = 0; s < 2; ++s)
        for (int m = 0; m < M; ++m) sum[s][m] = Dot::template start<Width>(x.residual[m * groups + g]);
#pragma GCC unroll 4
      for (int line = 0; line < 4; ++line) {
        const int8_t* q = x.q + g * kGroup + line * 8;
        for (int s = 0; s < 2; ++s) {
          const int offset = (half * 4 + line) * 64 + s * 32;
          const __m256i h = line_of(hi + offset);
          const auto codes = Dot::template open<Width>(h, Width == 8 ? line_of(lo + offset) : h);
          for (int m = 0; m < M; ++m) Dot::add(sum[s][m], codes, broadcast4(q + m * cols), broadcast4(q + m * cols + 4));
        }
      }
      for (int s = 0; s < 2; ++s) {
        const uint8_t* scales = hi + kScaleLine + s * 8;
        const __m256 scale = widen_bytes(scales + half * kTileRows);
        const __m256 step = Width == 8 ? _mm256_mul_ps(scale, _mm256_set1_ps(0.0625f)) : scale;  // exact
        const __m256 minimum = widen_bytes(scales + (2 + half) * kTileRows);
        for (int m = 0; m < M; ++m) {
          const __m256 product = _mm256_mul_ps(_mm256_cvtepi32_ps(Dot::total(sum[s][m], x.residual[m * groups + g])), step);
          acc[s][m] = _mm256_fmadd_ps(product, _mm256_set1_ps(x.scale[m * groups + g]), acc[s][m]);
          acc[s][m] = _mm256_fmadd_ps(minimum, _mm256_set1_ps(x.offset[m * groups + g]), acc[s][m]);
        }
      }
    }
  }
  for (int s = 0; s < 2; ++s) {
    const int at = tile * kTileRows + s * 8;
    const __m256 unit = _mm256_loadu_ps(w.row_scale + at);
    for (int m = 0; m < M; ++m) {
      float* out = y + size_t(m) * ld_y + at;
      __m256 value = bias ? _mm256_fmadd_ps(acc[s][m], unit, _mm256_loadu_ps(bias + at)) : _mm256_mul_ps(acc[s][m], unit);
      if (add_to) value = _mm256_add_ps(_mm256_loadu_ps(out), value);
      _mm256_storeu_ps(out, value);
    }
  }
}

template <class Dot, int Width>
void matmul(const PlaneMatrix& w, int tile_begin, int tile_end, const QuantRows& x, int rows, float* y, int ld_y,
            const float* bias, bool add_to) {
  constexpr int kMost = Dot::template kRows<Width>;
  for (int tile = tile_begin; tile < tile_end; ++tile) {
    // A batch computes so long between two lines that the hardware's prefetcher loses the stream: each pass over a tile
    // brings its part of the next one. A lone row is left to that prefetcher, which software only slows.
    Ahead ahead = {rows == 1 ? w.superblocks() : 0, (rows + kMost - 1) / kMost};
    for (int m = 0; m < rows; m += kMost, ++ahead.pass) {
      const QuantRows some = x.from(m);
      float* out = y + size_t(m) * ld_y;
      const int left = rows - m;
      if (left >= kMost) tile_product<Dot, Width, kMost>(w, tile, ahead, some, out, ld_y, bias, add_to);
      else if (left == 1) tile_product<Dot, Width, 1>(w, tile, ahead, some, out, ld_y, bias, add_to);
      else if (left == 2) tile_product<Dot, Width, 2>(w, tile, ahead, some, out, ld_y, bias, add_to);
      else tile_product<Dot, Width, 3>(w, tile, ahead, some, out, ld_y, bias, add_to);
    }
  }
}
