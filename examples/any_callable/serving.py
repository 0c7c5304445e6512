"""Serving: many inputs under one deadline, and a clock on which the machine slows down.

All inputs get the cheapest version's answer first; what time is left goes to the hardest ones. It
must not know what the versions compute: how hard an input is, its first answer tells a function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

from examples.callables import In, Out, call_each, offered, plan_calls
from onesec.budget.latency import P99, LatencyModel
from onesec.budget.policy import Policy
from onesec.core.clock import Clock


@dataclass(frozen=True, slots=True)
class Batch(Generic[Out]):
    """An answer for each input, the version that gave it, and the time that all took."""

    answers: list[Out]
    versions: list[str]
    elapsed_ms: float


class Slowed:
    """A clock on which work takes `factor` times as long as on the one below, from when it is set;
    it never runs backwards.

    >>> from onesec.core.clock import FakeClock
    >>> below = FakeClock(); clock = Slowed(below); clock.factor = 3.0
    >>> below.advance_ms(1.0); clock.now_ns()
    3000000
    """

    def __init__(self, below: Clock) -> None:
        self._below = below
        self._factor = 1.0
        self._since_ns = self._shown_ns = below.now_ns()

    def now_ns(self) -> int:
        return self._shown_ns + round((self._below.now_ns() - self._since_ns) * self._factor)

    @property
    def factor(self) -> float:
        return self._factor

    @factor.setter
    def factor(self, factor: float) -> None:
        now_ns = self._below.now_ns()
        self._shown_ns += round((now_ns - self._since_ns) * self._factor)
        self._since_ns, self._factor = now_ns, factor


def hardest_first(answers: Sequence[Out], margin: Callable[[Out], float]) -> list[int]:
    """Indices of the answers, those of the smallest margin first."""
    return sorted(range(len(answers)), key=lambda index: margin(answers[index]))


def serve_batch(
    versions: Mapping[str, Callable[[In], Out]],
    inputs: Sequence[In],
    budget_ms: float,
    latency: LatencyModel,
    clock: Clock,
    order: Callable[[Sequence[Out]], list[int]],
) -> Batch[Out]:
    """Answers to all inputs within `budget_ms`: by the cheapest version (the first that is worth
    its time), then again by the best one whose next call fits at p99, in the order that the first
    answers give. Raises DeadlineInfeasible, before any work, where the cheapest does not fit.
    What was measured corrects the latency model."""
    begin_ns = clock.now_ns()
    names = offered(tuple(versions), 1, latency)
    plan_calls(names[:1], len(inputs), budget_ms, latency)
    answers, first_times = call_each(versions[names[0]], inputs, clock)
    used = [names[0]] * len(inputs)
    work_ms = budget_ms - Policy().margin_ms(budget_ms)
    left_ms = work_ms - (clock.now_ns() - begin_ns) * 1e-6
    if _best_within(names[1:], left_ms, latency):
        for index in order(answers):
            left_ms = work_ms - (clock.now_ns() - begin_ns) * 1e-6
            name = _best_within(names[1:], left_ms, latency)
            if name is None:
                break
            (answers[index],), times = call_each(versions[name], inputs[index : index + 1], clock)
            used[index] = name
            latency.observe_decode(name, 0, 1, times)
    elapsed_ms = (clock.now_ns() - begin_ns) * 1e-6
    latency.observe_decode(names[0], 0, 1, first_times)
    return Batch(answers, used, elapsed_ms)


def _best_within(names: Sequence[str], left_ms: float, latency: LatencyModel) -> str | None:
    """The last of the names, the worst first, of which one call fits into the time at p99."""
    fitting = [n for n in names if latency.decode_ms(n, 0, 1, quantile=P99) <= left_ms]
    return fitting[-1] if fitting else None
