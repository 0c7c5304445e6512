// Plane products over 256-bit registers, half a tile (eight rows) at a time. `Dot` multiplies unsigned codes by signed
// activations and adds the products in fours:
//   add<Width>(sum, high, low, q)   sum + high * q, or + (16 * high + low) * q at width 8; high and low are bytes 0..15
// Included inside an anonymous namespace, by files built for AVX2 and FMA at least.

inline __m256i broadcast4(const int8_t* q) {
  int32_t four;
  std::memcpy(&four, q, 4);
  return _mm256_set1_epi32(four);
}

inline __m256 widen_bytes(const uint8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

// Eight rows (half a tile) against M activation rows.
template <class Dot, int Width, int M>
inline void half_tile_product(const PlaneMatrix& w, int tile, int side, const QuantRows& x, float* y, int ld_y,
                              const float* bias, bool add_to) {
  const __m256i low_mask = _mm256_set1_epi8(0x0f);
  const uint8_t* hi = w.hi_tile(tile) + side * 32;
  const uint8_t* lo = Width == 8 ? w.lo_tile(tile) + side * 32 : nullptr;
  const int cols = x.cols, groups = x.groups();
  __m256 acc[M];
  for (int m = 0; m < M; ++m) acc[m] = _mm256_setzero_ps();
  for (int block = 0; block < w.superblocks(); ++block, hi += kHiBytes, lo += Width == 8 ? kLoBytes : 0) {
    for (int half = 0; half < 2; ++half) {
      const int g = 2 * block + half;
      __m256i sum[M];
      for (int m = 0; m < M; ++m)
        sum[m] = Width == 8 ? _mm256_set1_epi32(x.residual[m * groups + g]) : _mm256_setzero_si256();
      for (int line = 0; line < 4; ++line) {
        const int offset = (half * 4 + line) * 64;
        const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(hi + offset));
        // Columns 0..3 of the line's eight in the lower halves, 4..7 in the upper.
        const __m256i h0 = _mm256_and_si256(h, low_mask), h1 = _mm256_and_si256(_mm256_srli_epi16(h, 4), low_mask);
        __m256i l0 = h0, l1 = h1;
        if constexpr (Width == 8) {
          const __m256i l = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lo + offset));
          l0 = _mm256_and_si256(l, low_mask), l1 = _mm256_and_si256(_mm256_srli_epi16(l, 4), low_mask);
        }
        const int8_t* q = x.q + g * kGroup + line * 8;
        for (int m = 0; m < M; ++m) {
          const __m256i q0 = broadcast4(q + m * cols), q1 = broadcast4(q + m * cols + 4);
          sum[m] = Dot::template add<Width>(Dot::template add<Width>(sum[m], h0, l0, q0), h1, l1, q1);
        }
      }
      const uint8_t* scales = hi - side * 32 + kScaleLine + side * 8;
      const __m256 scale = widen_bytes(scales + half * kTileRows);
      const __m256 minimum = widen_bytes(scales + (2 + half) * kTileRows);
      for (int m = 0; m < M; ++m) {
        const float step = Width == 8 ? x.scale[m * groups + g] * 0.0625f : x.scale[m * groups + g];
        acc[m] = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum[m]), scale), _mm256_set1_ps(step), acc[m]);
        acc[m] = _mm256_fmadd_ps(minimum, _mm256_set1_ps(x.offset[m * groups + g]), acc[m]);
      }
    }
  }
  const int at = tile * kTileRows + side * 8;
  const __m256 unit = _mm256_loadu_ps(w.row_scale + at);
  for (int m = 0; m < M; ++m) {
    float* out = y + size_t(m) * ld_y + at;
    __m256 value = bias ? _mm256_fmadd_ps(acc[m], unit, _mm256_loadu_ps(bias + at)) : _mm256_mul_ps(acc[m], unit);
    if (add_to) value = _mm256_add_ps(_mm256_loadu_ps(out), value);
    _mm256_storeu_ps(out, value);
  }
}

template <class Dot, int Width>
void matmul(const PlaneMatrix& w, int tile_begin, int tile_end, const QuantRows& x, int rows, float* y, int ld_y,
            const float* bias, bool add_to) {
  for (int tile = tile_begin; tile < tile_end; ++tile) {
    for (int side = 0; side < 2; ++side) {
      int m = 0;
      for (; m + 4 <= rows; m += 4)
        half_tile_product<Dot, Width, 4>(w, tile, side, x.from(m), y + size_t(m) * ld_y, ld_y, bias, add_to);
      for (; m < rows; ++m)
        half_tile_product<Dot, Width, 1>(w, tile, side, x.from(m), y + size_t(m) * ld_y, ld_y, bias, add_to);
    }
  }
}
