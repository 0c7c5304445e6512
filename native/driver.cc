#include "driver.h"

#include <chrono>
#include <ctime>
#include <utility>

namespace onesec {

int64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t(t.tv_sec) * 1000000000 + t.tv_nsec;
}

Driver::~Driver() {
  if (!thread_.joinable()) return;
  if (forked()) {
    thread_.detach();
    static_cast<void>(meeting_.release());
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  meeting_->asked.notify_one();
  thread_.join();
}

// Neither side spins: with as many threads as CPUs, a spinning waiter takes the CPU of the one it waits for.
bool Driver::idle_by(std::unique_lock<std::mutex>& lock, int64_t until_ns) {
  const auto idle = [this] { return !busy_; };
  if (until_ns == kForever) {
    meeting_->done.wait(lock, idle);
    return true;
  }
  const std::chrono::time_point<std::chrono::steady_clock> until{std::chrono::nanoseconds(until_ns)};
  return meeting_->done.wait_until(lock, until, idle);
}

bool Driver::run(std::shared_ptr<Job> job, int64_t until_ns) {
  std::shared_ptr<Job> before;  // goes when the lock is free: what it holds may wait for other locks
  std::unique_lock lock(mutex_);
  idle_by(lock, kForever);
  if (!thread_.joinable()) thread_ = std::thread([this] { work(); });  // may throw: nothing is in hand then
  before = std::exchange(job_, std::move(job));
  busy_ = true;
  lock.unlock();
  meeting_->asked.notify_one();
  lock.lock();
  if (!idle_by(lock, until_ns)) return false;
  job_.reset();
  return true;
}

bool Driver::wait(int64_t until_ns) {
  if (forked()) return true;
  std::unique_lock lock(mutex_);
  return idle_by(lock, until_ns);
}

std::shared_ptr<Job> Driver::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(job_, nullptr);
}

void Driver::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    meeting_->asked.wait(lock, [this] { return busy_ || stop_; });
    if (!busy_) return;
    Job* job = job_.get();
    lock.unlock();
    job->run();
    lock.lock();
    busy_ = false;
    lock.unlock();
    meeting_->done.notify_all();  // without the lock, which who waits would wake up to wait for
    lock.lock();
  }
}

}  // namespace onesec
