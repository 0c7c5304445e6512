#include "thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

namespace onesec {
namespace {

// A few hundred pauses cover a neighbour's last rows; after that the CPU may be wanted by that very neighbour.
constexpr int kSpin = 400;
constexpr int kIdleSpin = 2000;  // between two steps of one answer; then sleep

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("yield");
#endif
}

template <class Ready>
void wait_until(Ready ready) {
  for (int i = 0; i < kSpin; ++i) {
    if (ready()) return;
    pause();
  }
  while (!ready()) sched_yield();
}

int quota_cpus() {  // cgroup v2, then v1; 0 = none
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  long long period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0) return std::max(1, int(std::stoll(quota) / period));
  std::ifstream q("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), p("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  long long value = 0;
  if (q >> value && p >> period && value > 0 && period > 0) return std::max(1, int(value / period));
  return 0;
}

}  // namespace

int allowed_cpus() {
  cpu_set_t set;
  int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : int(std::thread::hardware_concurrency());
  if (const int quota = quota_cpus()) count = std::min(count, quota);
  return std::max(1, count);
}

ThreadPool::ThreadPool(int threads)
    : size_(std::max(1, threads)),
      slots_(new Slot[size_t(kRounds) * size_t(size_)]),
      threads_(new PerThread[size_t(size_)]) {
  for (int t = 1; t < size_; ++t) workers_.emplace_back([this, t] { work(t); });
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  job_.fetch_add(1, std::memory_order_release);
  job_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::work(int thread) {
  uint32_t seen = 0;
  for (;;) {
    uint32_t job = seen;
    for (int i = 0; i < kIdleSpin; ++i) {
      job = job_.load(std::memory_order_acquire);
      if (job != seen) break;
      pause();
    }
    while (job == seen) {
      job_.wait(seen, std::memory_order_acquire);
      job = job_.load(std::memory_order_acquire);
    }
    seen = job;
    if (stop_) return;
    play(thread);
    barrier(thread);
  }
}

void ThreadPool::play(int thread) {
  if (fault_) fault_->around(thread, [&] { (*body_)(thread); });
  else (*body_)(thread);
}

void ThreadPool::run(const std::function<void(int)>& body) {
  body_ = &body;
  if (size_ > 1) {
    job_.fetch_add(1, std::memory_order_release);
    job_.notify_all();
  }
  play(0);
  barrier(0);
}

void ThreadPool::barrier(int thread) {
  if (size_ == 1) return;
  const uint32_t phase = threads_[thread].phase++;
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == uint32_t(size_)) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_release);
  } else {
    wait_until([&] { return phase_.load(std::memory_order_acquire) != phase; });
  }
}

}  // namespace onesec
