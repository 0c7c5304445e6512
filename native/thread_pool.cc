#include "thread_pool.h"

#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

namespace onesec {
namespace {

// A few hundred pauses cover a neighbour's last rows; after that the CPU may be wanted by that very neighbour.
constexpr int kSpin = 400;
constexpr int kIdleSpin = 2000;  // between two steps of one answer; then sleep
constexpr int kPreemptions = 2;  // between two times asleep, that the kernel's own work may cause

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
    : size_(std::clamp(threads, 1, int(kJob) - 1)),
      active_(size_),
      wanted_(size_),
      slots_(new Slot[size_t(kRounds) * size_t(size_)]),
      threads_(new PerThread[size_t(size_)]),
      places_(new Place[size_t(size_)]) {
  try {
    for (int t = 1; t < size_; ++t) workers_.emplace_back([this, t] { work(t); });
  } catch (...) {
    end();  // else those that did start would be destroyed while they run
    throw;
  }
}

ThreadPool::~ThreadPool() { end(); }

void ThreadPool::end() {
  stop_ = true;
  job_.fetch_add(kJob, std::memory_order_release);
  job_.notify_all();
  raised_.fetch_add(1, std::memory_order_release);
  raised_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::use(int threads) { wanted_.store(std::clamp(threads, 1, size_), std::memory_order_relaxed); }

void ThreadPool::adopt(int threads) {
  const int before = active_;
  active_ = threads;
  for (int i = 0; i < kRounds * size_; ++i) slots_[size_t(i)].taken.store(0, std::memory_order_relaxed);
  if (active_ <= before) return;
  raised_at_.store(job_.load(std::memory_order_relaxed), std::memory_order_relaxed);
  raised_.fetch_add(1, std::memory_order_release);
  raised_.notify_all();
}

// Under a hypervisor a halted CPU counts as taken (Linux, vcpu_is_preempted): a thread that was asleep is woken on the CPU of
// who wakes it, and both stay there for tens of milliseconds. So it goes to a CPU that no thread before it is on, itself. Was
// it preempted there, others are busy there: then it stays where it is woken, the next few times, and longer if it happens again.
void ThreadPool::move_aside(int thread) {
  Place& own = places_[thread];
  rusage used{};
  getrusage(RUSAGE_THREAD, &used);
  if (own.moved) own.last_stays = own.stays = used.ru_nivcsw - own.preempted > kPreemptions ? std::clamp(2 * own.last_stays, 4, 64) : 0;
  own.preempted = used.ru_nivcsw, own.moved = false;
  cpu_set_t allowed, free;
  bool crowded = false;
  const int here = sched_getcpu();
  for (int t = 0; t < thread; ++t) crowded = crowded || places_[t].cpu.load(std::memory_order_relaxed) == here;
  if (crowded && own.stays > 0) {
    --own.stays;
  } else if (crowded && sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    free = allowed;
    for (int t = 0; t < thread; ++t)
      if (const int cpu = places_[t].cpu.load(std::memory_order_relaxed); cpu >= 0 && cpu < CPU_SETSIZE) CPU_CLR(cpu, &free);
    own.moved = CPU_COUNT(&free) > 0 && sched_setaffinity(0, sizeof free, &free) == 0;
    if (own.moved) sched_setaffinity(0, sizeof allowed, &allowed);
  }
  own.cpu.store(sched_getcpu(), std::memory_order_relaxed);
}

void ThreadPool::work(int thread) {
  uint32_t seen = 0, raised = 0;
  for (;;) {
    uint32_t job = seen;
    for (int i = 0; i < kIdleSpin; ++i) {
      job = job_.load(std::memory_order_acquire);
      if (job != seen) break;
      pause();
    }
    const bool asleep = job == seen;
    while (job == seen) {
      job_.wait(seen, std::memory_order_acquire);
      job = job_.load(std::memory_order_acquire);
    }
    seen = job;
    if (stop_) return;
    if (thread >= active_of(job)) {  // it does not even look at jobs until it is wanted again
      raised_.wait(raised, std::memory_order_acquire);
      raised = raised_.load(std::memory_order_acquire);
      seen = raised_at_.load(std::memory_order_relaxed);
      continue;
    }
    if (asleep) move_aside(thread);
    threads_[thread] = start_;
    play(thread);
    barrier(thread);
  }
}

void ThreadPool::play(int thread) {
  if (fault_) fault_->around(thread, [&] { (*body_)(thread); });
  else (*body_)(thread);
}

void ThreadPool::run(const std::function<void(int)>& body) {
  if (const int wanted = wanted_.load(std::memory_order_relaxed); wanted != active_) adopt(wanted);
  body_ = &body;
  if (active_ > 1) {
    start_ = threads_[0];
    places_[0].cpu.store(sched_getcpu(), std::memory_order_relaxed);
    const uint32_t number = job_.load(std::memory_order_relaxed) / kJob + 1;
    // In one order with notify_all's look for who sleeps, which a mere release would let go first.
    job_.store(number * kJob + uint32_t(active_), std::memory_order_seq_cst);
    job_.notify_all();
  }
  play(0);
  barrier(0);
}

void ThreadPool::barrier(int thread) {
  const uint32_t all = uint32_t(active_);  // read before it arrives: afterwards it may be another run's
  if (all == 1) return;
  const uint32_t phase = threads_[thread].phase++;
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == all) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_release);
  } else {
    wait_until([&] { return phase_.load(std::memory_order_acquire) != phase; });
  }
}

}  // namespace onesec
