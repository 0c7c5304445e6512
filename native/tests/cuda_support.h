// What the tests of the emulated GPU kernels share: running them, buffers that are poisoned, double-precision references.
#pragma once
#include <algorithm>

#include "dispatch.h"
#include "support.h"

namespace onesec::test {

using cuda::Format;
using cuda::NormKind;
using cuda::Product;

// Memory that the kernel before the one under test writes: poison until that one is waited for.
class Late {
 public:
  Late(const void* bytes, size_t size)
      : bytes_(static_cast<const uint8_t*>(bytes), static_cast<const uint8_t*>(bytes) + size), storage_(new Line[size / sizeof(Line) + 1]) {
    poison();
  }
  void poison() { std::memset(storage_.get(), 0xff, bytes_.size()); }
  void write() { std::memcpy(storage_.get(), bytes_.data(), bytes_.size()); }
  template <class T>
  T* data() { return reinterpret_cast<T*>(storage_.get()); }

 private:
  struct alignas(64) Line { uint8_t bytes[64]; };
  std::vector<uint8_t> bytes_;
  std::unique_ptr<Line[]> storage_;
};

template <class T>
Late late(const std::vector<T>& v) { return Late(v.data(), v.size() * sizeof(T)); }

template <class Arguments>
void emulate(void (*kernel)(Arguments), const Arguments& arguments, int blocks, int threads, size_t shared, void (*previous)(void*), void* state) {
  struct Call {
    void (*kernel)(Arguments);
    Arguments arguments;
  } call{kernel, arguments};
  emulation::run(
      blocks, threads, std::max(shared, size_t(1)), [](const void* c) { static_cast<const Call*>(c)->kernel(static_cast<const Call*>(c)->arguments); },
      &call, previous, state);
}

inline void run_kernel(void (*kernel)(Product), const Product& p, int blocks, size_t shared, Late* before, int threads = cuda::kThreads) {
  if (before) before->poison();
  emulate(kernel, p, blocks, threads, shared, [](void* l) { if (l) static_cast<Late*>(l)->write(); }, before);
}

inline void run_product(const Product& p, Format format, int blocks, Late* before) {
  if (p.paired) blocks = p.units * cuda::kPair, emulation::cluster(cuda::kPair);
  cuda::launch_product(p, format, [&](void (*kernel)(Product), const cuda::Needs& needs) {
    Product q = cuda::share_units(p, blocks);
    q.slots = std::min(needs.most_slots, 1 + blocks % 4);
    run_kernel(kernel, q, blocks, needs.fixed + size_t(q.slots) * needs.slot, before, cuda::kBlockThreads);
  });
  emulation::cluster(1);
}
// x, normed as p says, in the form that products of the format read.
inline std::vector<uint8_t> prepare(Product p, Format format, const std::vector<float>& x) {
  Late before = late(x);
  const bool planes = format == Format::planes4 || format == Format::planes8;
  std::vector<uint8_t> out(planes ? cuda::QuantizedForm::bytes(p) : cuda::RoundedForm<cuda::Bf16>::bytes(p), 0xff);
  p.x = before.data<float>(), p.feed = out.data();
  cuda::launch_prepare(p, format, [&](void (*kernel)(Product), size_t shared) { run_kernel(kernel, p, p.rows, shared, &before); });
  return out;
}

inline Product product_of(const PlaneMatrix& w, int rows_of_result, int rows, int cols) {
  Product p{};
  p.hi = w.hi, p.lo = w.lo, p.row_scale = w.row_scale, p.cols = cols, p.rows = rows, p.superblocks = w.superblocks();
  p.units = p.part_tiles = w.rows / kTileRows;
  p.ld_y = w.rows + 3, p.outputs = rows_of_result;
  return p;
}

// Exactly sized, so that a sanitizer sees a read behind the end; the test's planes have room behind them.
struct ExactPlanes {
  std::unique_ptr<CacheLine[]> hi, lo;
  PlaneMatrix view;
  explicit ExactPlanes(const PlaneMatrix& w) : hi(new CacheLine[w.hi_bytes() / 64]), lo(new CacheLine[w.lo_bytes() / 64]), view(w) {
    std::memcpy(hi.get(), w.hi, w.hi_bytes()), std::memcpy(lo.get(), w.lo, w.lo_bytes());
    view.hi = hi[0].bytes, view.lo = lo[0].bytes;
  }
};

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

void test_cuda_feed();
void test_cuda_attention();

}  // namespace onesec::test
