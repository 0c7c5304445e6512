// Large blocks of memory on 2 MiB pages, handed out in 64-byte steps; freed as a whole.
#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

namespace onesec {

class Arena {
 public:
  Arena() = default;
  explicit Arena(size_t bytes) {
    constexpr size_t huge = size_t(2) << 20;
    size_ = (bytes + huge - 1) / huge * huge;
    if (size_ == 0) return;
    // One huge page more, so that the start can be aligned to one.
    base_ = mmap(nullptr, size_ + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base_ == MAP_FAILED) throw std::bad_alloc();
    mapped_ = size_ + huge;
    start_ = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(base_) + huge - 1) / huge * huge);
    madvise(start_, size_, MADV_HUGEPAGE);
  }
  Arena(Arena&& other) noexcept { *this = std::move(other); }
  Arena& operator=(Arena&& other) noexcept {
    std::swap(base_, other.base_), std::swap(start_, other.start_), std::swap(mapped_, other.mapped_);
    std::swap(size_, other.size_), std::swap(used_, other.used_);
    return *this;
  }
  ~Arena() { if (mapped_) munmap(base_, mapped_); }

  uint8_t* take(size_t bytes) {
    const size_t at = used_;
    used_ += (bytes + 63) / 64 * 64;
    if (used_ > size_) throw std::bad_alloc();
    return start_ + at;
  }
  uint8_t* data() const { return start_; }
  size_t size() const { return size_; }

 private:
  void* base_ = nullptr;
  uint8_t* start_ = nullptr;
  size_t mapped_ = 0, size_ = 0, used_ = 0;
};

}  // namespace onesec
