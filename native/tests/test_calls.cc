// Calls that are not waited out: what comes back at the fence, what comes afterwards, and that nothing is lost between.
// Stalls last "for ever" (a minute) and are released, so no result hangs on how fast this machine is.
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <system_error>
#include <thread>

#include "call.h"
#include "support.h"

namespace onesec::test {
namespace {

constexpr double kForeverMs = 60000.0;

struct Stalling : Model {
  std::shared_ptr<Fault> fault = std::make_shared<Fault>();
  explicit Stalling(int threads) : Model(threads) { t.pool().set_fault(fault); }
};

std::shared_ptr<Call> make_call(Transformer& t, int steps, int64_t until_ns = kForever, int sequences = 2) {
  std::vector<RowIn> rows;
  for (int s = 0; s < sequences; ++s) {
    RowIn r;
    for (int i = 0; i < 9; ++i) r.tokens.push_back((17 * i + 5 * s) % 211);
    for (int i = 0; i < 4; ++i) r.table.push_back(4 * s + i);
    SamplingParams p;
    p.temperature = 0.9f, p.seed = uint64_t(40 + s), p.presence_penalty = 0.5f;
    r.sampler = std::make_shared<Sampler>(p);
    rows.push_back(std::move(r));
  }
  return std::make_shared<Call>(t, std::move(rows), Widths(t.matrix_names().size(), {8}), steps, until_ns, true);
}

void append(std::vector<std::vector<int32_t>>& to, const Done& done) {
  to.resize(done.rows.size());
  for (size_t i = 0; i < done.rows.size(); ++i) to[i].insert(to[i].end(), done.rows[i].tokens.begin(), done.rows[i].tokens.end());
}

std::vector<std::vector<int32_t>> tokens_of(Call& call) {
  std::vector<std::vector<int32_t>> out;
  append(out, call.take());
  return out;
}

int64_t soon() { return now_ns() + 20'000'000; }

// A thread stalls in step k of 8: k - 1 steps come back at the fence, one more when the stall is over, and no more.
void stalls(int threads, int thread, int stalled_step) {
  Stalling m(threads);
  const auto whole = make_call(m.t, 8);
  whole->run();
  const auto expected = tokens_of(*whole);

  m.fault->stall(thread, stalled_step, kForeverMs);
  const auto call = make_call(m.t, 8);
  expect(!m.t.driver().run(call, 0), "the fence gives the caller back", "", threads, thread, stalled_step);
  m.fault->await_stall();
  call->abandon();
  std::vector<std::vector<int32_t>> got;
  Done first = call->take();
  expect(!first.over && int(first.step_ms.size()) == stalled_step - 1, "steps done before the fence", "", threads, thread, int(first.step_ms.size()));
  append(got, first);
  expect(!m.t.driver().wait(soon()), "it goes on", "", threads, thread);
  m.fault->release();
  expect(m.t.driver().wait(kForever), "it ends", "", threads, thread);
  expect(m.t.driver().take() == call, "the call that was left behind", "", threads, thread);
  Done rest = call->take();
  expect(rest.over && rest.step_ms.size() == 1, "an abandoned call ends with its step", "", threads, thread, int(rest.step_ms.size()));
  append(got, rest);
  for (size_t i = 0; i < got.size(); ++i)
    expect(int(got[i].size()) == stalled_step && std::equal(got[i].begin(), got[i].end(), expected[i].begin()), "tokens as without a stall", "", threads, int(i));
  expect(m.t.driver().take() == nullptr, "it is told once", "", threads, thread);

  const auto again = make_call(m.t, 8);
  expect(m.t.driver().run(again, kForever), "the next call runs", "", threads, thread);
  expect(tokens_of(*again) == expected, "and computes the same", "", threads, thread);
}

// The next call waits for the one that goes on, though nobody asked for its rest.
void waits_its_turn() {
  Stalling m(2);
  const auto whole = make_call(m.t, 3);
  whole->run();
  const auto expected = tokens_of(*whole);
  m.fault->stall(1, 1, kForeverMs);
  const auto stuck = make_call(m.t, 3), next = make_call(m.t, 3);
  expect(!m.t.driver().run(stuck, soon()), "overdue", "");
  std::thread waker([&] { m.fault->release(); });
  expect(m.t.driver().run(next, kForever), "waits its turn", "");
  waker.join();
  expect(tokens_of(*next) == expected, "after a call that was dropped", "");
}

void ends_while_stuck() {
  auto m = std::make_unique<Stalling>(2);
  const auto fault = m->fault;
  fault->stall(0, 2, kForeverMs);
  {
    const auto call = make_call(m->t, 4);
    expect(!m->t.driver().run(call, soon()), "overdue", "");
  }  // the driver keeps the call, and the samplers that it draws from
  std::thread waker([&] { fault->release(); });
  m.reset();
  waker.join();
}

void many_hand_overs() {
  Stalling m(2);
  const auto whole = make_call(m.t, 1);
  whole->run();
  const auto expected = tokens_of(*whole);
  for (int i = 0; i < 200; ++i) {  // fences before, amid and after the end
    const auto call = make_call(m.t, 1);
    std::vector<std::vector<int32_t>> got;
    if (!m.t.driver().run(call, now_ns() + i * 5000)) {
      append(got, call->take());
      m.t.driver().wait(kForever);
      m.t.driver().take();
    }
    append(got, call->take());
    expect(got == expected, "nothing is lost or told twice, wherever the fence falls", "", i);
  }
}

void keeps_nothing() {
  struct Nothing final : Job {
    bool ran = false;
    void run() noexcept override { ran = true; }
  };
  Driver driver;
  const auto job = std::make_shared<Nothing>();
  expect(driver.wait(0) && driver.take() == nullptr, "an idle driver", "");
  expect(driver.run(job, kForever) && job->ran && driver.take() == nullptr, "a job that ended is not kept", "");
}

template <class F>
bool starts_no_thread(F&& body) {
  try {
    body();
  } catch (const std::system_error&) {
    return true;
  }
  return false;
}

// A thread that cannot start is an error, and not the end: where it can, the same driver goes on.
void no_thread_to_be_had() {
  struct Nothing final : Job {
    void run() noexcept override {}
  };
  pthread_attr_t usual, vast;
  pthread_getattr_default_np(&usual);
  pthread_getattr_default_np(&vast);
  pthread_attr_setstacksize(&vast, size_t(1) << 47);  // no address space is so large
  Driver driver;
  pthread_setattr_default_np(&vast);
  const bool told = starts_no_thread([&] { driver.run(std::make_shared<Nothing>(), kForever); });
  pthread_setattr_default_np(&usual);
  expect(told && driver.wait(soon()) && driver.take() == nullptr, "a driver without a thread has nothing in hand", "");
  expect(driver.run(std::make_shared<Nothing>(), kForever), "and runs the next job", "");

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which take address space of their own
  // Room for two stacks: the third thread of a pool does not start, and two have.
  constexpr size_t stack = size_t(64) << 20;
  pthread_attr_setstacksize(&vast, stack);
  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit before;
  getrlimit(RLIMIT_AS, &before);
  const rlimit tight = {pages * size_t(sysconf(_SC_PAGESIZE)) + 5 * stack / 2, before.rlim_max};
  setrlimit(RLIMIT_AS, &tight);
  pthread_setattr_default_np(&vast);
  const bool refused = starts_no_thread([] { ThreadPool pool(8); });
  void* const too_much = mmap(nullptr, 8 * stack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  pthread_setattr_default_np(&usual);
  setrlimit(RLIMIT_AS, &before);
  expect(refused == (too_much == MAP_FAILED), "a pool that lacks a thread is not made", "");  // an emulator sets no limits
  if (too_much != MAP_FAILED) munmap(too_much, 8 * stack);
#endif
  pthread_attr_destroy(&usual), pthread_attr_destroy(&vast);
}

}  // namespace

void test_calls() {
  for (const int threads : {1, 2, 4})
    for (const int thread : {0, threads - 1})
      for (const int step : {1, 3}) stalls(threads, thread, step);
  waits_its_turn();
  ends_while_stuck();
  many_hand_overs();
  keeps_nothing();
  no_thread_to_be_had();

  Stalling slow(2);
  slow.fault->slow(2.0);
  const auto call = make_call(slow.t, 3);
  call->run();
  const auto expected = tokens_of(*call);
  slow.fault->release();
  const auto plain = make_call(slow.t, 3);
  plain->run();
  expect(tokens_of(*plain) == expected, "slowness changes no token", "");
}

}  // namespace onesec::test
