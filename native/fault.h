// Fault: what a step may meet on a real machine, for tests: a thread that stalls, a machine that is slow.
// Only the tests' doors reach it; a pool without one pays a comparison a run.
#pragma once
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace onesec {

class Fault {
 public:
  // That thread sleeps for `ms` at the start of its run-th run from now (1: the next), unless it is released.
  void stall(int thread, int run, double ms) {
    const std::lock_guard lock(mutex_);
    thread_ = thread, runs_left_ = run, ms_ = ms;
  }
  // Returns when the thread sleeps that was told to.
  void await_stall() {
    std::unique_lock lock(mutex_);
    asleep_changed_.wait(lock, [this] { return asleep_; });
  }
  // Every run takes about `factor` times as long; 1: as it does.
  void slow(double factor) {
    const std::lock_guard lock(mutex_);
    factor_ = factor;
  }
  // Wakes who sleeps; nothing happens any more.
  void release() {
    const std::lock_guard lock(mutex_);
    runs_left_ = 0, factor_ = 1.0;
    ++released_;
    woken_.notify_all();
  }

  template <class Body>
  void around(int thread, Body&& body) {
    using Clock = std::chrono::steady_clock;
    double factor;
    {
      std::unique_lock lock(mutex_);
      if (thread == thread_ && runs_left_ > 0 && --runs_left_ == 0) {
        const int before = released_;
        asleep_ = true;
        asleep_changed_.notify_all();
        woken_.wait_until(lock, Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double, std::milli>(ms_)),
                          [&] { return released_ != before; });
        asleep_ = false;
      }
      factor = factor_;
    }
    const auto start = Clock::now();
    body();
    if (factor > 1.0) std::this_thread::sleep_for((Clock::now() - start) * (factor - 1.0));
  }

 private:
  std::mutex mutex_;
  std::condition_variable woken_, asleep_changed_;
  bool asleep_ = false;
  int thread_ = 0, runs_left_ = 0, released_ = 0;
  double ms_ = 0.0, factor_ = 1.0;
};

}  // namespace onesec
