// A few persistent threads that run one function together, with barriers inside and row claiming.
// Knows nothing of what they compute.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "fault.h"

namespace onesec {

// CPUs that affinity and the cgroup quota allow, at least 1.
int allowed_cpus();

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // throws std::system_error where a thread cannot start
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return active_; }  // threads that take part
  int most() const { return size_; }    // that there are

  // How many threads take part from the next run on, at least 1; the others sleep. From any thread, at any time: it does
  // not wait for a run. What a run computes must not depend on it.
  void use(int threads);

  // For tests; not while anything runs.
  void set_fault(std::shared_ptr<Fault> fault) { fault_ = std::move(fault); }

  // Runs body(thread) on every thread, the caller being thread 0; returns when all are done.
  void run(const std::function<void(int)>& body);

  // Inside run: all threads meet.
  void barrier(int thread);

  // Inside run: calls body(chunk) for chunks [0, count), each once. A thread first takes its own contiguous share
  // in order, and then what a late neighbour has left. Every thread must call it; a barrier must follow before the
  // results are read or `claim` is called again.
  template <class F>
  void claim(int thread, int count, F&& body) {
    claim_runs(thread, count, 1, 1, [&](int begin, int end) {
      for (int chunk = begin; chunk < end; ++chunk) body(chunk);
    });
  }

  // The same in runs: body(begin, end). A run is a quarter of what its share still has, within [least, most]: a claim
  // waits for every load in flight, so a share has few of them, and its last runs are short enough to share out.
  template <class F>
  void claim_runs(int thread, int count, int least, int most, F&& body) {
    Slot* round = slots_.get() + size_t(threads_[thread].round % kRounds) * size_t(size_);
    Slot* next = slots_.get() + size_t((threads_[thread].round + 1) % kRounds) * size_t(size_);
    ++threads_[thread].round;
    // Nobody reads the next round's slot before the barrier that ends this one.
    next[thread].taken.store(0, std::memory_order_relaxed);
    for (int i = 0; i < active_; ++i) {
      const int owner = (thread + i) % active_;
      const int begin = int(int64_t(count) * owner / active_), end = int(int64_t(count) * (owner + 1) / active_);
      std::atomic<int>& taken = round[owner].taken;
      int from = taken.load(std::memory_order_relaxed);
      while (begin + from < end) {
        const int left = end - begin - from, run = std::min(left, std::clamp(left / 4, least, most));
        if (!taken.compare_exchange_weak(from, from + run, std::memory_order_relaxed)) continue;
        body(begin + from, begin + from + run);
        from = taken.load(std::memory_order_relaxed);
      }
    }
  }

 private:
  static constexpr int kRounds = 4;  // of slots: one in use, the next, and what late neighbours still read
  static_assert((uint64_t{1} << 32) % kRounds == 0, "`round` runs over after some hours of work, from one multiple to another");
  struct alignas(64) Slot { std::atomic<int> taken{0}; };
  struct alignas(64) PerThread { uint32_t round = 0; uint32_t phase = 0; };
  // Where a thread was seen last, and of those that move aside: how often that thread was preempted by then, and whether
  // it had moved; how many times it stays next, and how many it last had to.
  struct alignas(64) Place {
    std::atomic<int> cpu{-1};
    long preempted = 0;
    bool moved = false;
    int stays = 0, last_stays = 0;
  };

  // A job: its number, and in the lowest bits how many threads take part.
  static constexpr uint32_t kJob = 4096;
  static int active_of(uint32_t job) { return int(job % kJob); }

  void work(int thread);
  void end();  // stops and joins them all
  void adopt(int threads);  // between two runs
  void play(int thread);  // the body
  void move_aside(int thread);

  int size_, active_;
  std::atomic<int> wanted_;  // what `use` asked for
  std::unique_ptr<Slot[]> slots_;       // [kRounds][size]
  std::unique_ptr<PerThread[]> threads_;
  std::unique_ptr<Place[]> places_;  // each thread's own, but for `cpu`
  alignas(64) std::atomic<uint32_t> arrived_{0};
  alignas(64) std::atomic<uint32_t> phase_{0};
  alignas(64) std::atomic<uint32_t> job_{0};
  alignas(64) std::atomic<uint32_t> raised_{0};  // how often more threads came to take part
  std::atomic<uint32_t> raised_at_{0};           // the last job before that
  PerThread start_;                              // where all threads of a job stand when it begins
  const std::function<void(int)>* body_ = nullptr;
  std::shared_ptr<Fault> fault_;
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace onesec
