// Everything but the plane products, written once over sixteen lanes. Included inside a namespace that has
// defined V; never included twice in one namespace.
// Sums run in sixteen fixed lanes that meet in a fixed tree, so they do not depend on threads or neighbours.

inline constexpr float kMinusInf = -3.4e38f;  // finite: no inf - inf anywhere
inline constexpr float kNotANumber = __builtin_nanf("");

// exp by 2^n * p(r), |r| <= ln2/2; polynomial of Cephes expf, relative error about 1e-7. Saturates below -87. What is not a
// number stays so: where a comparison fails, V::max and V::min give their second argument.
inline V exp(V x) {
  x = V::min(V::set(88.0f), V::max(V::set(-87.0f), x));
  const V n = V::round(x * V::set(1.44269504088896341f));
  V r = V::fma(n, V::set(-0.693359375f), x);
  r = V::fma(n, V::set(2.12194440e-4f), r);
  V p = V::set(1.9875691500e-4f);
  p = V::fma(p, r, V::set(1.3981999507e-3f));
  p = V::fma(p, r, V::set(8.3334519073e-3f));
  p = V::fma(p, r, V::set(4.1665795894e-2f));
  p = V::fma(p, r, V::set(1.6666665459e-1f));
  p = V::fma(p, r, V::set(5.0000001201e-1f));
  p = V::fma(p, r * r, r) + V::set(1.0f);
  return p * V::exp2i(n);
}

inline V tanh(V x) {  // 1 - 2 / (exp(2x) + 1)
  return V::set(1.0f) - V::set(2.0f) / (exp(x + x) + V::set(1.0f));
}

inline float exp1(float x) {
  float lanes[16];
  exp(V::set(x)).store(lanes);
  return lanes[0];
}

inline V load_any(const void* p, DType dtype, size_t index) {
  switch (dtype) {
    case DType::f32: return V::load(static_cast<const float*>(p) + index);
    case DType::f16: return V::load_f16(static_cast<const uint16_t*>(p) + index);
    case DType::bf16: return V::load_bf16(static_cast<const uint16_t*>(p) + index);
    default: return V::load_i8(static_cast<const int8_t*>(p) + index);
  }
}

// The last n % 16 values, with zeros behind them.
inline V load_tail(const void* p, DType dtype, size_t index, int count) {
  alignas(64) uint8_t buffer[64] = {};
  const size_t size = size_t(dtype_bytes(dtype));
  std::memcpy(buffer, static_cast<const uint8_t*>(p) + index * size, size_t(count) * size);
  return load_any(buffer, dtype, 0);
}

inline void store_tail(V v, float* p, int count) {
  float buffer[16];
  v.store(buffer);
  std::memcpy(p, buffer, size_t(count) * sizeof(float));
}

inline V take(const float* p, int i, int count) { return count == 16 ? V::load(p + i) : load_tail(p, DType::f32, size_t(i), count); }
inline void give(V v, float* p, int i, int count) { count == 16 ? v.store(p + i) : store_tail(v, p + i, count); }

template <int M>
void matmul16_rows(const void* w, DType dtype, int row, int cols, const float* x, int ld_x, float* sums) {
  V acc[M];
  for (int m = 0; m < M; ++m) acc[m] = V::set(0.0f);
  const size_t base = size_t(row) * size_t(cols);
  int k = 0;
  for (; k + 16 <= cols; k += 16) {
    const V wv = load_any(w, dtype, base + size_t(k));
    for (int m = 0; m < M; ++m) acc[m] = V::fma(wv, V::load(x + size_t(m) * ld_x + k), acc[m]);
  }
  if (k < cols) {
    const V wv = load_tail(w, dtype, base + size_t(k), cols - k);
    for (int m = 0; m < M; ++m)
      acc[m] = V::fma(wv, load_tail(x + size_t(m) * ld_x + k, DType::f32, 0, cols - k), acc[m]);
  }
  for (int m = 0; m < M; ++m) sums[m] = acc[m].sum();
}

inline void matmul16(const void* w, DType dtype, int w_rows, int cols, const float* x, int ld_x, int rows, float* y,
                     int ld_y, const float* bias, bool add) {
  for (int m0 = 0; m0 < rows; m0 += 8) {
    const int count = rows - m0 < 8 ? rows - m0 : 8;
    const float* xm = x + size_t(m0) * ld_x;
    for (int r = 0; r < w_rows; ++r) {
      float sums[8];
      if (count == 8) {
        matmul16_rows<8>(w, dtype, r, cols, xm, ld_x, sums);
      } else {
        for (int m = 0; m < count; ++m) matmul16_rows<1>(w, dtype, r, cols, xm + size_t(m) * ld_x, ld_x, sums + m);
      }
      for (int m = 0; m < count; ++m) {
        float& out = y[size_t(m0 + m) * ld_y + r];
        const float value = sums[m] + (bias ? bias[r] : 0.0f);
        out = add ? out + value : value;
      }
    }
  }
}

struct GroupOfRow {  // 32 activations as int8; members as in QuantRows
  V first, second;   // q, still as floats
  float scale, offset;
  int32_t residual;
};

// count of values, the rest are zeros. Where one of them is not finite, neither are scale and offset.
inline GroupOfRow quantize_group(const float* x, int count) {
  if (count <= 0) return {V::set(0.0f), V::set(0.0f), 0.0f, 0.0f, 0};
  if (count > kGroup) count = kGroup;
  const int high = count - 16 < 0 ? 0 : count - 16;
  const V a = count >= 16 ? V::load(x) : load_tail(x, DType::f32, 0, count);
  const V b = high == 16 ? V::load(x + 16) : high ? load_tail(x + 16, DType::f32, 0, high) : V::set(0.0f);
  const float largest = V::max(V::abs(a), V::abs(b)).top();
  const bool some = largest > kLeast;
  const float scale = some ? largest / 127.0f : 0.0f;
  const V inverse = V::set(some ? 127.0f / largest : 0.0f);
  const V qa = V::round(a * inverse), qb = V::round(b * inverse);
  const float total = (qa + qb).sum();  // exact: integers below 2^13
  // What is not a number may hide from a maximum, not from a sum; and infinity times its inverse is none.
  if (total != total) return {V::set(0.0f), V::set(0.0f), kNotANumber, kNotANumber, 0};
  const int sum = int(total);
  return {qa, qb, scale, -float(kMinimumUnit) * (scale * float(sum)), -kResidualZero * sum};
}

inline void quantize(const float* x, int cols, const QuantRows& out) {
  for (int g = 0; g < out.groups(); ++g) {
    const GroupOfRow group = quantize_group(x + g * kGroup, cols - g * kGroup);
    group.first.store_i8(out.q + g * kGroup), group.second.store_i8(out.q + g * kGroup + kGroup / 2);
    out.scale[g] = group.scale, out.offset[g] = group.offset, out.residual[g] = group.residual;
  }
}

inline void remainder(const float* x, int cols, float* out) {
  for (int k = 0; k < cols; k += kGroup) {
    const GroupOfRow group = quantize_group(x + k, cols - k);
    const V less = V::set(-group.scale);
    const int low = cols - k < 16 ? cols - k : 16, high = cols - k - 16 < 16 ? cols - k - 16 : 16;
    give(V::fma(group.first, less, take(x, k, low)), out, k, low);
    if (high > 0) give(V::fma(group.second, less, take(x, k + 16, high)), out, k + 16, high);
  }
}

template <class F>
inline void map16(int n, F f) {  // f(index, count): count is 16 but for the last
  int i = 0;
  for (; i + 16 <= n; i += 16) f(i, 16);
  if (i < n) f(i, n - i);
}

inline void rms_norm(const float* x, const float* weight, float eps, int n, float* out) {
  V squares = V::set(0.0f);
  map16(n, [&](int i, int c) { const V v = take(x, i, c); squares = V::fma(v, v, squares); });
  const V factor = V::set(1.0f / std::sqrt(squares.sum() / float(n) + eps));
  map16(n, [&](int i, int c) { give(take(x, i, c) * factor * take(weight, i, c), out, i, c); });
}

inline void layer_norm(const float* x, const float* weight, const float* bias, float eps, int n, float* out) {
  V sum = V::set(0.0f);
  map16(n, [&](int i, int c) { sum = sum + take(x, i, c); });
  const float mean = sum.sum() / float(n);
  float squares = 0.0f;
  {
    V acc = V::set(0.0f);
    int i = 0;
    for (; i + 16 <= n; i += 16) { const V d = V::load(x + i) - V::set(mean); acc = V::fma(d, d, acc); }
    squares = acc.sum();
    for (; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
  }
  const V factor = V::set(1.0f / std::sqrt(squares / float(n) + eps)), centre = V::set(mean);
  map16(n, [&](int i, int c) {
    V v = (take(x, i, c) - centre) * factor * take(weight, i, c);
    if (bias) v = v + take(bias, i, c);
    give(v, out, i, c);
  });
}

inline void add(float* x, const float* y, int n) {
  map16(n, [&](int i, int c) { give(take(x, i, c) + take(y, i, c), x, i, c); });
}

inline void activate(Activation kind, const float* gate, const float* up, int n, float* out) {
  const V one = V::set(1.0f), half = V::set(0.5f);
  if (kind == Activation::gelu) {
    for (int i = 0; i < n; ++i) {
      const float v = 0.5f * gate[i] * (1.0f + std::erf(gate[i] * 0.70710678118654752f));
      out[i] = up ? v * up[i] : v;
    }
    return;
  }
  map16(n, [&](int i, int c) {
    const V x = take(gate, i, c);
    V v = V::max(V::set(0.0f), x);  // relu
    if (kind == Activation::silu) {
      v = x / (one + exp(V::set(0.0f) - x));
    } else if (kind == Activation::gelu_tanh) {
      const V inner = V::set(0.7978845608028654f) * V::fma(V::set(0.044715f) * x * x, x, x);
      v = half * x * (one + tanh(inner));
    }
    if (up) v = v * take(up, i, c);
    give(v, out, i, c);
  });
}

inline void rope(float* head, const float* cos_sin, int rotary_dim) {
  const int half = rotary_dim / 2;
  map16(half, [&](int i, int c) {
    const V a = take(head, i, c), b = take(head + half, i, c), cosine = take(cos_sin, i, c), sine = take(cos_sin + half, i, c);
    const V first = a * cosine - b * sine, second = b * cosine + a * sine;
    give(first, head, i, c);
    give(second, head + half, i, c);
  });
}

// The largest of a head's magnitudes; not a number where one of its values is not finite.
inline float magnitude(const float* head, int n) {
  const V zero = V::set(0.0f);
  V largest = zero, nothing = zero;  // nothing: zero times every value
  map16(n, [&](int i, int c) {
    const V v = take(head, i, c);
    largest = V::max(largest, V::abs(v));
    nothing = V::fma(v, zero, nothing);
  });
  return nothing.sum() == 0.0f ? largest.top() : kNotANumber;
}

// What a head is cached with: codes are its values times `factor`, all zeros where that is zero.
inline float cache_factor(const float* head, int n, DType dtype, float* scale) {
  if (dtype != DType::i8) return 1.0f;
  const float largest = magnitude(head, n);
  *scale = largest <= kLeast ? 0.0f : largest / 127.0f;
  return largest > kLeast ? 1.0f / *scale : 0.0f;
}

inline V cached(const float* head, int d, int count, float factor) {
  return factor == 0.0f ? V::set(0.0f) : take(head, d, count) * V::set(factor);
}

inline void write_keys(const float* head, int head_dim, DType dtype, int slot, void* block, float* scale) {
  const float factor = cache_factor(head, head_dim, dtype, scale);
  for (int d = 0; d < head_dim; d += 16) {
    const int count = head_dim - d < 16 ? head_dim - d : 16;
    const V v = cached(head, d, count, factor);
    alignas(64) float wide[16];
    alignas(32) uint16_t halves[16];
    alignas(16) int8_t bytes[16];
    if (dtype == DType::f16) v.store_f16(halves);
    else if (dtype == DType::i8) v.store_i8(bytes);
    else v.store(wide);
    for (int i = 0; i < count; ++i) {
      const size_t at = size_t(d + i) * kBlockTokens + size_t(slot);
      if (dtype == DType::f16) static_cast<uint16_t*>(block)[at] = halves[i];
      else if (dtype == DType::i8) static_cast<int8_t*>(block)[at] = bytes[i];
      else static_cast<float*>(block)[at] = wide[i];
    }
  }
}

inline void write_values(const float* head, int head_dim, DType dtype, int slot, void* block, float* scale) {
  const float factor = cache_factor(head, head_dim, dtype, scale);
  for (int d = 0; d < head_dim; d += 16) {
    const int count = head_dim - d < 16 ? head_dim - d : 16;
    const V v = cached(head, d, count, factor);
    alignas(64) uint8_t buffer[64];
    if (dtype == DType::f16) v.store_f16(buffer);
    else if (dtype == DType::i8) v.store_i8(buffer);
    else v.store(reinterpret_cast<float*>(buffer));
    const size_t size = size_t(dtype_bytes(dtype));
    std::memcpy(static_cast<uint8_t*>(block) + (size_t(slot) * size_t(head_dim) + size_t(d)) * size, buffer, size_t(count) * size);
  }
}

inline void softcap(float* x, int n, float cap) {
  const V c = V::set(cap), inverse = V::set(1.0f / cap);
  map16(n, [&](int i, int count) { give(c * tanh(take(x, i, count) * inverse), x, i, count); });
}

// Attention adds to V::kSums vectors of sums at once for each of four rows: as many as hide how long a fused operation takes
// and still lie in registers. Here the scores of R query heads against N * 16 positions of one block, d ascending.
template <int R, int N>
inline void score_positions(const float* keys, const float* const* q, int head_dim, int at, V (*s)[2]) {
  V acc[R][N];
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) acc[r][n] = V::set(0.0f);
  for (int d = 0; d < head_dim; ++d) {
    V k[N];
    for (int n = 0; n < N; ++n) k[n] = V::load(keys + d * kBlockTokens + 16 * (at + n));
    for (int r = 0; r < R; ++r) {
      const V qd = V::set(q[r][d]);
      for (int n = 0; n < N; ++n) acc[r][n] = V::fma(qd, k[n], acc[r][n]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) s[r][at + n] = acc[r][n];
}

template <int R>
inline void score_rows(const float* keys, const float* const* q, int head_dim, V (*s)[2]) {
  for (int at = 0; at < 2; at += V::kSums) score_positions<R, V::kSums>(keys, q, head_dim, at, s);
}

// Vectors [at, at + N) of R output rows: N * R sums, enough of them to hide how long one fused operation takes.
template <int R, int N>
inline void value_columns(const float* values, const float* const* p, int head_dim, int at, float* const* out, const float* alpha) {
  V acc[R][N];
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) acc[r][n] = V::load(out[r] + at + 16 * n) * V::set(alpha[r]);
  for (int j = 0; j < kBlockTokens; ++j) {
    V v[N];
    for (int n = 0; n < N; ++n) v[n] = V::load(values + size_t(j) * head_dim + at + 16 * n);
    for (int r = 0; r < R; ++r) {
      const V weight = V::set(p[r][j]);
      for (int n = 0; n < N; ++n) acc[r][n] = V::fma(weight, v[n], acc[r][n]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) acc[r][n].store(out[r] + at + 16 * n);
}

template <int R>
inline void value_rows(const float* values, const float* const* p, int head_dim, float* const* out, const float* alpha) {
  int d = 0;
  for (; d + 16 * V::kSums <= head_dim; d += 16 * V::kSums) value_columns<R, V::kSums>(values, p, head_dim, d, out, alpha);
  if (d + 16 <= head_dim) value_columns<R, 1>(values, p, head_dim, d, out, alpha), d += 16;
  if (d == head_dim) return;
  const int count = head_dim - d;
  for (int r = 0; r < R; ++r) {
    V acc = load_tail(out[r] + d, DType::f32, 0, count) * V::set(alpha[r]);
    for (int j = 0; j < kBlockTokens; ++j)
      acc = V::fma(V::set(p[r][j]), load_tail(values + size_t(j) * head_dim + d, DType::f32, 0, count), acc);
    store_tail(acc, out[r] + d, count);
  }
}

// Online softmax over blocks in ascending order. A block that lies wholly outside a query's range changes nothing
// (alpha 1, p 0), so a query's bits do not depend on the queries that share its task.
inline void attention(const AttentionTask& t) {
  const int rows = t.queries * t.heads, hd = t.head_dim;
  float* p = t.scratch;                                  // [rows][32]
  float* running = p + size_t(rows) * kBlockTokens;      // [rows][2]
  float* keys = running + 2 * size_t(rows);              // [hd][32]
  float* values = keys + size_t(hd) * kBlockTokens;      // [32][hd]
  for (int r = 0; r < rows; ++r) {
    running[2 * r] = kMinusInf;
    running[2 * r + 1] = 0.0f;
    std::memset(t.out + size_t(r / t.heads) * t.ld_out + size_t(r % t.heads) * hd, 0, size_t(hd) * sizeof(float));
  }
  const int last = t.first_position + t.queries;  // one past the last visible position
  const int end = t.end < last ? t.end : last;
  int begin = t.begin;
  if (t.window > 0 && t.first_position - t.window + 1 > begin)
    begin = (t.first_position - t.window + 1) / kBlockTokens * kBlockTokens;
  for (int start = begin; start < end; start += kBlockTokens) {
    const int64_t block = t.block_table[start / kBlockTokens];
    const int count = last - start < kBlockTokens ? last - start : kBlockTokens;  // written positions
    const uint8_t* kb = t.keys + block * t.block_stride;
    const uint8_t* vb = t.values + block * t.block_stride;
    const float* k_scale = t.dtype == DType::i8 ? t.key_scales + block * t.scale_stride : nullptr;
    const float* v_scale = t.dtype == DType::i8 ? t.value_scales + block * t.scale_stride : nullptr;
    // The weights of a step have driven the cache's lines out, and blocks lie apart: the next one is fetched meanwhile.
    const int64_t next = start + kBlockTokens < end ? t.block_table[start / kBlockTokens + 1] : block;
    const size_t value_bytes = size_t(dtype_bytes(t.dtype)), row_bytes = size_t(hd) * value_bytes;
    for (int i = 0; i < hd * kBlockTokens; i += 16) {
      __builtin_prefetch(t.keys + next * t.block_stride + size_t(i) * value_bytes);
      load_any(kb, t.dtype, size_t(i)).store(keys + i);
    }
    for (int j = 0; j < kBlockTokens; ++j) {
      for (size_t i = 0; i < row_bytes; i += 64) __builtin_prefetch(t.values + next * t.block_stride + size_t(j) * row_bytes + i);
      float* row = values + size_t(j) * hd;
      if (j >= count) {  // never written: may hold anything, and 0 * nan is nan
        std::memset(row, 0, size_t(hd) * sizeof(float));
        continue;
      }
      const V s = V::set(v_scale ? v_scale[j] : 1.0f);
      map16(hd, [&](int d, int c) {
        const size_t at = size_t(j) * size_t(hd) + size_t(d);
        const V v = c == 16 ? load_any(vb, t.dtype, at) : load_tail(vb, t.dtype, at, c);
        give(v_scale ? v * s : v, row, d, c);
      });
    }
    for (int r0 = 0; r0 < rows; r0 += 4) {
      const int n = rows - r0 < 4 ? rows - r0 : 4;
      const float* q[4];
      float* out[4];
      const float* pr[4];
      float alpha[4];
      V s[4][2];
      for (int r = 0; r < n; ++r) {
        q[r] = t.q + size_t((r0 + r) / t.heads) * t.ld_q + size_t((r0 + r) % t.heads) * hd;
        out[r] = t.out + size_t((r0 + r) / t.heads) * t.ld_out + size_t((r0 + r) % t.heads) * hd;
        pr[r] = p + size_t(r0 + r) * kBlockTokens;
      }
      if (n == 4) score_rows<4>(keys, q, hd, s);
      else if (n == 3) score_rows<3>(keys, q, hd, s);
      else if (n == 2) score_rows<2>(keys, q, hd, s);
      else score_rows<1>(keys, q, hd, s);
      const auto hide = [&](float* row, int position, float value) {  // what this query must not see
        const int low = t.window > 0 ? position - t.window + 1 : 0, high = position < t.end ? position : t.end - 1;
        if (start >= low && start + kBlockTokens - 1 <= high) return;
        for (int j = 0; j < kBlockTokens; ++j)
          if (start + j > high || start + j < low) row[j] = value;
      };
      const auto finite = [](const float* row) {  // a maximum may hide what is not a number
        const V zero = V::set(0.0f);
        return V::fma(V::load(row), zero, V::load(row + 16) * zero).sum() == 0.0f;
      };
      float fall[16] = {}, top[4];  // running maximum before less after; maximum of this block
      for (int r = 0; r < n; ++r) {
        float* row = p + size_t(r0 + r) * kBlockTokens;
        const V scale = V::set(t.scale);
        V s0 = s[r][0] * scale, s1 = s[r][1] * scale;
        if (k_scale) s0 = s0 * V::load(k_scale), s1 = s1 * V::load(k_scale + 16);
        if (t.softcap > 0.0f) {
          const V c = V::set(t.softcap), inverse = V::set(1.0f / t.softcap);
          s0 = c * tanh(s0 * inverse), s1 = c * tanh(s1 * inverse);
        }
        s0.store(row), s1.store(row + 16);
        hide(row, t.first_position + (r0 + r) / t.heads, kMinusInf);
        top[r] = V::max(V::load(row), V::load(row + 16)).top();
        float* state = running + 2 * (r0 + r);
        if (top[r] > state[0]) fall[r] = state[0] - top[r];
      }
      exp(V::load(fall)).store(fall);
      for (int r = 0; r < n; ++r) {
        float* row = p + size_t(r0 + r) * kBlockTokens;
        float* state = running + 2 * (r0 + r);
        if (top[r] <= kMinusInf) {  // nothing visible here, or nothing finite
          const float weight = finite(row) ? 0.0f : kNotANumber;
          for (int j = 0; j < kBlockTokens; ++j) row[j] = weight;
          state[1] += weight;
          alpha[r] = 1.0f;
          continue;
        }
        alpha[r] = state[0] <= kMinusInf ? 0.0f : fall[r];
        if (top[r] > state[0]) state[0] = top[r];
        const V m = V::set(state[0]);
        exp(V::load(row) - m).store(row), exp(V::load(row + 16) - m).store(row + 16);
        hide(row, t.first_position + (r0 + r) / t.heads, 0.0f);
        state[1] = state[1] * alpha[r] + (V::load(row) + V::load(row + 16)).sum();
      }
      if (n == 4) value_rows<4>(values, pr, hd, out, alpha);
      else if (n == 3) value_rows<3>(values, pr, hd, out, alpha);
      else if (n == 2) value_rows<2>(values, pr, hd, out, alpha);
      else value_rows<1>(values, pr, hd, out, alpha);
    }
  }
  std::memcpy(t.max_sum, running, 2 * size_t(rows) * sizeof(float));
}

inline void logit_stats(const float* x, int n, int first_id, LogitStats* out) {
  V top = V::set(kMinusInf);
  map16(n, [&](int i, int c) {
    if (c == 16) top = V::max(top, V::load(x + i));
    else for (int j = 0; j < c; ++j) top = V::max(top, V::set(x[i + j]));
  });
  const float m = top.top();
  int argmax = 0;
  while (argmax < n - 1 && x[argmax] != m) ++argmax;
  // nothing: the sum of zero times every logit, which is zero unless one of them is not finite.
  const V zero = V::set(0.0f);
  V sum = zero, weighted = zero, second = V::set(kMinusInf), nothing = zero;
  float tail_sum = 0.0f, tail_weighted = 0.0f, tail_second = kMinusInf, tail_nothing = 0.0f;
  int i = 0;
  const V mv = V::set(m);
  for (; i + 16 <= n; i += 16) {
    const V d = V::load(x + i) - mv, e = exp(d);
    nothing = V::fma(V::load(x + i), zero, nothing);
    sum = sum + e;
    weighted = V::fma(V::max(d, V::set(-87.0f)), e, weighted);
    if (argmax >= i && argmax < i + 16) {
      for (int j = i; j < i + 16; ++j)
        if (j != argmax && x[j] > tail_second) tail_second = x[j];
    } else {
      second = V::max(second, V::load(x + i));
    }
  }
  for (; i < n; ++i) {
    const float d = x[i] - m, e = exp1(d);
    tail_nothing += x[i] * 0.0f;
    tail_sum += e;
    tail_weighted += (d > -87.0f ? d : -87.0f) * e;
    if (i != argmax && x[i] > tail_second) tail_second = x[i];
  }
  const float s = second.top();
  *out = {m, s > tail_second ? s : tail_second, first_id + argmax, sum.sum() + tail_sum, weighted.sum() + tail_weighted,
          nothing.sum() + tail_nothing == 0.0f};
}

inline void widen(const void* in, DType dtype, int n, float* out) {
  map16(n, [&](int i, int c) {
    give(c == 16 ? load_any(in, dtype, size_t(i)) : load_tail(in, dtype, size_t(i), c), out, i, c);
  });
}

#include "kernels_packing.h"

// A constant: a file built for one instruction set must run nothing when the module is loaded.
constexpr Kernels make_table(const char* name, decltype(Kernels::matmul4) matmul4, decltype(Kernels::matmul8) matmul8,
                              const PromptKernels* prompt = nullptr) {
  return {name,     matmul4, matmul8, matmul16,   quantize,     remainder,  rms_norm,  layer_norm, add,         activate,
          rope,     write_keys,       write_values, attention,  softcap,   logit_stats, widen,
          grid_costs, group_error,     add_products, prompt};
}
