// A worker that runs out of memory in the midst of a step could tell nobody, and the others would wait for it: what threads
// write to is there before they begin. So no thread but the one that asks for a step may allocate.
#include <cstdlib>
#include <new>
#include <thread>

#include "support.h"

namespace {

std::atomic<bool> counting{false};
std::atomic<int> elsewhere{0};  // allocations of other threads than the one that counts
thread_local bool counts_own = false;

void* allocate(size_t bytes, size_t alignment) {
  if (counting && !counts_own) ++elsewhere;
  void* found = nullptr;
  if (alignment <= alignof(std::max_align_t)) found = std::malloc(bytes ? bytes : 1);
  else if (posix_memalign(&found, alignment, bytes)) found = nullptr;
  if (!found) throw std::bad_alloc();
  return found;
}

}  // namespace

void* operator new(size_t bytes) { return allocate(bytes, 1); }
void* operator new(size_t bytes, std::align_val_t alignment) { return allocate(bytes, size_t(alignment)); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, size_t, std::align_val_t) noexcept { std::free(p); }

namespace onesec::test {

void test_allocations() {
  std::vector<int32_t> tokens;
  for (int i = 0; i < 70; ++i) tokens.push_back((i * 13) % 211);
  for (const char* isa : {"", "scalar"}) {
    for (const Width width : {Width{4}, Width{8}, Width{8, 16}}) {
      Model model(3, isa);
      elsewhere = 0, counts_own = counting = true;
      model.greedy(5, 3, true, width);
      model.run(tokens, 1, 0, width);
      model.run({tokens.begin(), tokens.begin() + 9}, 5, 4, width);
      model.run(tokens, 70, 0, width, 1, true);
      counts_own = counting = false;
      expect(elsewhere == 0, "no worker allocates in a step", isa, width.weights, width.activations, elsewhere);
    }
  }
}

}  // namespace onesec::test
