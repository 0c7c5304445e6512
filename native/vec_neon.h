// Sixteen float lanes as four NEON registers (64-bit ARM).
#pragma once
#include <arm_neon.h>

#include <cstdint>
#include <cstring>

namespace onesec::neon {

struct V {
  static constexpr int kSums = 1;  // 4 x 1 are sixteen registers of thirty-two
  float32x4_t v[4];

  template <class F>
  static V make(F f) { return {{f(0), f(1), f(2), f(3)}}; }
  static V set(float x) { return make([&](int) { return vdupq_n_f32(x); }); }
  static V load(const float* p) { return make([&](int i) { return vld1q_f32(p + 4 * i); }); }
  static V load_f16(const void* p) {
    return make([&](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(static_cast<const uint16_t*>(p) + 4 * i))); });
  }
  static V load_bf16(const void* p) {
    return make([&](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(static_cast<const uint16_t*>(p) + 4 * i), 16)); });
  }
  static V load_i8(const void* p) {
    const int8x16_t bytes = vld1q_s8(static_cast<const int8_t*>(p));
    const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
    return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
             vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))}};
  }
  void store(float* p) const {
    for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, v[i]);
  }
  void store_f16(void* p) const {
    for (int i = 0; i < 4; ++i) vst1_u16(static_cast<uint16_t*>(p) + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(v[i])));
  }
  void store_i8(void* p) const {  // rounded to nearest even, saturated
    const auto words = [&](int i) { return vcombine_s16(vqmovn_s32(vcvtnq_s32_f32(v[i])), vqmovn_s32(vcvtnq_s32_f32(v[i + 1]))); };
    vst1q_s8(static_cast<int8_t*>(p), vcombine_s8(vqmovn_s16(words(0)), vqmovn_s16(words(2))));
  }
  friend V operator+(V a, V b) { return make([&](int i) { return vaddq_f32(a.v[i], b.v[i]); }); }
  friend V operator-(V a, V b) { return make([&](int i) { return vsubq_f32(a.v[i], b.v[i]); }); }
  friend V operator*(V a, V b) { return make([&](int i) { return vmulq_f32(a.v[i], b.v[i]); }); }
  friend V operator/(V a, V b) { return make([&](int i) { return vdivq_f32(a.v[i], b.v[i]); }); }
  static V fma(V a, V b, V c) { return make([&](int i) { return vfmaq_f32(c.v[i], a.v[i], b.v[i]); }); }
  // The second where the comparison fails, as everywhere else: NEON's own maximum would hand on what is not a number.
  static V max(V a, V b) { return make([&](int i) { return vbslq_f32(vcgtq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]); }); }
  static V min(V a, V b) { return make([&](int i) { return vbslq_f32(vcltq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]); }); }
  static V abs(V a) { return make([&](int i) { return vabsq_f32(a.v[i]); }); }
  static V round(V a) { return make([&](int i) { return vrndnq_f32(a.v[i]); }); }
  static V exp2i(V n) {
    return make([&](int i) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n.v[i]), vdupq_n_s32(127)), 23)); });
  }
  float sum() const {
    const float32x4_t s = vaddq_f32(vaddq_f32(v[0], v[2]), vaddq_f32(v[1], v[3]));
    const float32x2_t t = vadd_f32(vget_low_f32(s), vget_high_f32(s));
    return vget_lane_f32(t, 0) + vget_lane_f32(t, 1);
  }
  float top() const { return vmaxvq_f32(vmaxq_f32(vmaxq_f32(v[0], v[1]), vmaxq_f32(v[2], v[3]))); }
};

}  // namespace onesec::neon
