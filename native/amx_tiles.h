// Tiles of the AMX kind in plain C++: what TDPBF16PS computes, dword by dword, for tests and for the check at start.
// A policy has zero, load, dot and store over eight tiles of 16 rows x 64 bytes, named at compile time.
// Included inside an anonymous namespace, so that code built for one instruction set never serves another.

// Intel's manual: input denormals are zeros, output denormals are flushed, rounding is to nearest even. The even and
// the odd columns are summed apart, from zero, with fused steps; both sums meet, and then the destination.
struct EmulatedTiles {
  alignas(64) uint8_t tile[8][16][64] = {};

  static float flushed(float x) { return std::fabs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x; }
  static float widened(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return flushed(x);
  }

  template <int T> void zero() { std::memset(tile[T], 0, sizeof tile[T]); }
  template <int T> void load(const void* lines) { std::memcpy(tile[T], lines, sizeof tile[T]); }
  template <int T> void store(void* lines) const { std::memcpy(lines, tile[T], sizeof tile[T]); }

  // C[m][n] += sum over k of A[m][2k] B[k][2n] + A[m][2k+1] B[k][2n+1]
  template <int C, int A, int B> void dot() {
    for (int m = 0; m < 16; ++m) {
      float even[16] = {}, odd[16] = {}, out[16];
      uint32_t a[16], b[16];
      std::memcpy(a, tile[A][m], sizeof a);
      for (int k = 0; k < 16; ++k) {
        const float a_even = widened(a[k] << 16), a_odd = widened(a[k] & 0xffff0000u);
        std::memcpy(b, tile[B][k], sizeof b);
        for (int n = 0; n < 16; ++n) {
          even[n] = flushed(std::fma(a_even, widened(b[n] << 16), even[n]));
          odd[n] = flushed(std::fma(a_odd, widened(b[n] & 0xffff0000u), odd[n]));
        }
      }
      std::memcpy(out, tile[C][m], sizeof out);
      for (int n = 0; n < 16; ++n) out[n] = flushed(flushed(out[n]) + flushed(even[n] + odd[n]));
      std::memcpy(tile[C][m], out, sizeof out);
    }
  }
};
