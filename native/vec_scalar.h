// Sixteen float lanes without intrinsics: the twin that every other vector type is tested against.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

namespace onesec::scalar {

inline float half_to_float(uint16_t h) {
  const uint32_t sign = uint32_t(h & 0x8000) << 16;
  uint32_t exponent = (h >> 10) & 31, mantissa = h & 1023;
  uint32_t bits;
  if (exponent == 31) {
    bits = sign | 0x7f800000u | (mantissa << 13);
  } else if (exponent == 0) {
    const float f = std::ldexp(float(mantissa), -24);
    std::memcpy(&bits, &f, 4);
    bits |= sign;
  } else {
    bits = sign | ((exponent + 112) << 23) | (mantissa << 13);
  }
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

inline uint16_t float_to_half(float f) {  // round to nearest even
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  const uint16_t sign = uint16_t((bits >> 16) & 0x8000);
  const float a = std::fabs(f);
  if (!(a < 65520.0f)) return uint16_t(sign | (a != a ? 0x7e00 : 0x7c00));
  if (a < 6.103515625e-05f) return uint16_t(sign | uint16_t(std::lrint(std::ldexp(a, 24))));
  std::memcpy(&bits, &a, 4);
  bits += 0xfff + ((bits >> 13) & 1);
  return uint16_t(sign | ((bits - (112u << 23)) >> 13));
}

struct V {
  static constexpr int kSums = 1;
  float v[16];
  template <class F>
  static V make(F f) {
    V r;
    for (int i = 0; i < 16; ++i) r.v[i] = f(i);
    return r;
  }
  static V set(float x) { return make([&](int) { return x; }); }
  static V load(const float* p) { return make([&](int i) { return p[i]; }); }
  static V load_f16(const void* p) { return make([&](int i) { return half_to_float(static_cast<const uint16_t*>(p)[i]); }); }
  static V load_bf16(const void* p) {
    return make([&](int i) {
      const uint32_t bits = uint32_t(static_cast<const uint16_t*>(p)[i]) << 16;
      float f;
      std::memcpy(&f, &bits, 4);
      return f;
    });
  }
  static V load_i8(const void* p) { return make([&](int i) { return float(static_cast<const int8_t*>(p)[i]); }); }
  void store(float* p) const { std::memcpy(p, v, sizeof v); }
  void store_f16(void* p) const { for (int i = 0; i < 16; ++i) static_cast<uint16_t*>(p)[i] = float_to_half(v[i]); }
  void store_i8(void* p) const {  // rounds to nearest even
    for (int i = 0; i < 16; ++i) static_cast<int8_t*>(p)[i] = int8_t(std::lrint(v[i]));
  }
  friend V operator+(V a, V b) { return make([&](int i) { return a.v[i] + b.v[i]; }); }
  friend V operator-(V a, V b) { return make([&](int i) { return a.v[i] - b.v[i]; }); }
  friend V operator*(V a, V b) { return make([&](int i) { return a.v[i] * b.v[i]; }); }
  friend V operator/(V a, V b) { return make([&](int i) { return a.v[i] / b.v[i]; }); }
  static V fma(V a, V b, V c) { return make([&](int i) { return a.v[i] * b.v[i] + c.v[i]; }); }
  static V max(V a, V b) { return make([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
  static V min(V a, V b) { return make([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
  static V abs(V a) { return make([&](int i) { return std::fabs(a.v[i]); }); }
  static V round(V a) { return make([&](int i) { return std::nearbyint(a.v[i]); }); }
  // 2^n for integral n in [-126, 127]; anything where n is not a number
  static V exp2i(V n) {
    return make([&](int i) {
      const float shifted = n.v[i] + (12582912.0f + 127.0f);  // 1.5 * 2^23: n + 127 is what its last bits say
      uint32_t bits;
      std::memcpy(&bits, &shifted, 4);
      bits <<= 23;
      float f;
      std::memcpy(&f, &bits, 4);
      return f;
    });
  }
  float sum() const {
    float s[16];
    std::memcpy(s, v, sizeof s);
    for (int n = 8; n; n /= 2)
      for (int i = 0; i < n; ++i) s[i] += s[i + n];
    return s[0];
  }
  float top() const {
    float m = v[0];
    for (int i = 1; i < 16; ++i) m = v[i] > m ? v[i] : m;
    return m;
  }
};

}  // namespace onesec::scalar
