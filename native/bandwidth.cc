#include "bandwidth.h"

#include <chrono>
#include <cstring>
#include <vector>

#include "memory.h"
#include "thread_pool.h"

namespace onesec {
namespace {

using Lanes = uint64_t __attribute__((vector_size(64)));

#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
uint64_t read_all(const uint8_t* p, size_t bytes) {
  Lanes sums[8] = {};
  for (size_t i = 0; i + 512 <= bytes; i += 512)
    for (int j = 0; j < 8; ++j) {
      Lanes v;
      std::memcpy(&v, p + i + size_t(j) * 64, 64);
      sums[j] ^= v;
    }
  uint64_t out = 0;
  for (const Lanes& s : sums)
    for (int k = 0; k < 8; ++k) out ^= s[k];
  return out;
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

double read_bandwidth(size_t bytes, int threads, double seconds) {
  const size_t share = bytes / size_t(threads) / 512 * 512;
  Arena arena(share * size_t(threads));
  ThreadPool pool(threads);
  pool.run([&](int t) { std::memset(arena.data() + size_t(t) * share, t + 1, share); });
  std::vector<uint64_t> sinks(size_t(threads) * 8);
  int passes = 0;
  const double start = now();
  double end = start;
  do {
    pool.run([&](int t) { sinks[size_t(t) * 8] ^= read_all(arena.data() + size_t(t) * share, share); });
    ++passes;
    end = now();
  } while (end - start < seconds);
  static volatile uint64_t sink;
  for (const uint64_t s : sinks) sink = sink ^ s;
  return double(share) * threads * passes / (end - start) / 1e9;
}

}  // namespace onesec
