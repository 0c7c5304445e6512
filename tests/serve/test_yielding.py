"""Threads are left to whoever answers the door, and taken back."""

import os
import time
from collections.abc import Iterator

import numpy as np
import pytest

from onesec import _native
from onesec.backend.base import Batch, BatchRow
from onesec.backend.cpu import CpuBackend
from onesec.core.clock import FakeClock
from onesec.core.request import SamplingParams
from onesec.model.shapes import shape
from onesec.serve.yielding import Yielding, process_clock, spent_ns

MS = 1_000_000


class Others:
    """What others compute, a share of a CPU at a time."""

    def __init__(self, most: int) -> None:
        self.clock = FakeClock()
        self.spent = 0
        self.used: list[int] = []
        self.yielding = Yielding(self.used.append, most, lambda: self.spent, self.clock)

    def take(self, share: float, ms: int = 110) -> list[int]:
        """How many threads may compute from now on, where that changed."""
        self.used.clear()
        self.clock.advance_ms(ms)
        self.spent += int(share * ms * MS)
        self.yielding.look()
        return list(self.used)


def test_a_busy_door_is_left_a_cpu_and_gives_it_back() -> None:
    others = Others(2)
    assert others.take(0.05) == []
    assert others.take(0.4) == [1]
    assert others.take(0.9) == []  # one thread computes in any case
    assert others.take(0.2) == []  # not at once: it would be taken back and forth
    assert others.take(0.1) == [2]


def test_a_door_that_takes_more_than_a_cpu_is_left_more() -> None:
    others = Others(8)
    assert [others.take(1.5) for _ in range(3)] == [[7], [6], []]
    assert [others.take(0.5), others.take(0.5)] == [[7], []]


def test_a_single_thread_is_never_taken() -> None:
    others = Others(1)
    assert others.take(3.0) == []


def test_a_moment_says_nothing() -> None:
    others = Others(2)
    assert others.take(5.0, ms=20) == []


def test_clocks_of_this_process_and_of_none() -> None:
    before = spent_ns(process_clock(os.getpid()))
    end = time.process_time_ns() + 2 * MS
    while time.process_time_ns() < end:
        pass
    assert spent_ns(process_clock(os.getpid())) - before >= MS
    assert spent_ns(process_clock(2**22 + 5)) == 0  # above the highest process id


@pytest.fixture
def backend() -> Iterator[CpuBackend]:
    found = CpuBackend.random(shape("smollm2-135m"), context_tokens=256, threads=3)
    yield found
    found.close()


def prompt(backend: CpuBackend) -> Batch:
    sampler = backend.sampler(SamplingParams(ignore_eos=True), eos_ids=())
    table = np.arange(8, dtype=np.int32)
    return Batch(
        backend.gears[-1], [BatchRow(np.arange(90, dtype=np.int32), 0, table, sampler)], 12
    )


def test_tokens_do_not_depend_on_how_many_threads_compute(backend: CpuBackend) -> None:
    with_all = backend.forward(prompt(backend)).rows[0].tokens
    for count in (1, 3, 2, 3):
        backend.use_threads(count)
        assert backend.forward(prompt(backend)).rows[0].tokens == with_all


def test_a_step_that_hangs_holds_up_nobody_who_takes_a_thread(backend: CpuBackend) -> None:
    with_all = backend.forward(prompt(backend)).rows[0].tokens
    fault = _native.Fault()
    backend._engine.set_fault(fault)
    fault.stall(1, 1, 60_000.0)
    batch = prompt(backend)
    batch.watch_ns = time.monotonic_ns()
    assert backend.forward(batch).overdue
    backend.use_threads(1)
    assert backend.rest(time.monotonic_ns()) is None  # it goes on still
    fault.release()
    assert backend.rest(None) is not None
    assert backend.forward(prompt(backend)).rows[0].tokens == with_all
