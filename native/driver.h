// A thread that runs one job at a time for a caller who stops waiting at a given instant, whatever the job does.
// Knows nothing of what the jobs compute.
#pragma once
#include <unistd.h>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

namespace onesec {

constexpr int64_t kForever = INT64_MAX;
int64_t now_ns();  // CLOCK_MONOTONIC, as Python's time.monotonic_ns()

class Job {
 public:
  virtual ~Job() = default;
  virtual void run() noexcept = 0;
};

// One caller at a time. The thread starts with the first job; it never drops a job, so that whatever a job owns is
// freed by the caller. A forked process has not got the thread: there nobody waits for it, and no job may be run.
class Driver {
 public:
  Driver() = default;
  ~Driver();  // waits for the job in hand
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  // Runs the job and waits for its end, at most until `until_ns`. False: it goes on behind, and `take` has it. Throws
  // std::system_error where the thread cannot start: the job was not begun, and the next one may be.
  bool run(std::shared_ptr<Job> job, int64_t until_ns);
  // Waits for the job that goes on, at most until `until_ns`; true if none does.
  bool wait(int64_t until_ns);
  // The job that was left behind, once: whoever takes it has what it found out.
  std::shared_ptr<Job> take();

 private:
  void work();
  bool idle_by(std::unique_lock<std::mutex>& lock, int64_t until_ns);

  bool forked() const { return getpid() != process_; }

  const pid_t process_ = getpid();
  std::mutex mutex_;
  // On the heap, to be left there by a forked process: its copies have waiters that destruction would wait for.
  struct Meeting { std::condition_variable asked, done; };
  std::unique_ptr<Meeting> meeting_ = std::make_unique<Meeting>();
  std::shared_ptr<Job> job_;
  bool busy_ = false, stop_ = false;
  std::thread thread_;
};

}  // namespace onesec
