"""Versions of one callable as gears: measured, planned, answered within a deadline, corrected.

A call is a step: count inputs are an answer of count tokens that no prompt comes before, so the
planner, the quantiles and the corrections that serve chat hold here as they are. It must not know
what the versions compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from onesec.budget.fit import PrefillSample, StepSample, fit
from onesec.budget.latency import LatencyModel
from onesec.budget.length import LengthModel
from onesec.budget.planner import Ask, Plan, plan
from onesec.core.clock import Clock
from onesec.core.errors import DeadlineInfeasible, InvalidRequest

Number = TypeVar("Number", bound=np.floating)
In = TypeVar("In")
Out = TypeVar("Out")
ROUNDS = 4  # to fit; as many again to calibrate


@dataclass(frozen=True, slots=True)
class Served(Generic[Out]):
    """An answer for each input, the plan that they followed, and the time that they took."""

    answers: list[Out]
    plan: Plan
    elapsed_ms: float


def rows_of(x: npt.NDArray[Number]) -> list[npt.NDArray[Number]]:
    """The rows of x as inputs: each keeps its axis, [1, …]."""
    return [x[row : row + 1] for row in range(len(x))]


def measure(
    versions: Mapping[str, Callable[[In], Out]], inputs: Sequence[In], clock: Clock
) -> LatencyModel:
    """Times of single calls of every version, in turns, so that a machine that changes its pace
    changes it for all. The first rounds are fitted; the others are observed as if they were served,
    so that the quantiles come from times that the fit has not seen.

    Raises InvalidRequest where there is no version or no input."""
    if not versions or not inputs:
        raise InvalidRequest(
            f"{len(versions)} versions and {len(inputs)} inputs cannot be measured.",
            hint="Give at least one of each; some hundred inputs show the quantiles.",
        )
    samples: list[PrefillSample | StepSample] = []
    for _ in range(ROUNDS):
        for name, times in _round(versions, inputs, clock).items():
            samples += [StepSample(name, 0, ms) for ms in times]
            samples.append(PrefillSample(name, len(times), sum(times)))
    latency = fit(samples)
    for _ in range(ROUNDS):
        for name, times in _round(versions, inputs, clock).items():
            latency.observe_decode(name, 0, 1, times)
    return latency


def offered(names: Sequence[str], count: int, latency: LatencyModel) -> tuple[str, ...]:
    """Of the versions `names`, the worst first, those that are worth their time for `count` inputs:
    without those that a better one beats on this machine."""
    worth: list[str] = []
    for name in reversed(names):
        if not worth or latency.decode_ms(name, 0, count) < latency.decode_ms(worth[0], 0, count):
            worth.insert(0, name)
    return tuple(worth)


def plan_calls(names: Sequence[str], count: int, budget_ms: float, latency: LatencyModel) -> Plan:
    """The best of the versions `names`, the worst first, whose p95 for `count` calls fits into
    `budget_ms`. Raises DeadlineInfeasible, with the smallest budget that works, where none does."""
    ask = Ask(
        prompt_tokens=0,
        limit_tokens=count + 1,  # the planner counts the steps after a first token
        min_tokens=count + 1,
        gears=offered(names, count, latency),
        budget_ms=budget_ms,
    )
    try:
        return plan(ask, latency, LengthModel())
    except DeadlineInfeasible as refusal:
        raise DeadlineInfeasible(
            budget_ms=budget_ms,
            feasible_ms=refusal.feasible_ms,
            why=f"{count} calls of {ask.gears[0]}, the cheapest version",
        ) from None


def serve(
    versions: Mapping[str, Callable[[In], Out]],
    inputs: Sequence[In],
    budget_ms: float,
    latency: LatencyModel,
    clock: Clock,
) -> Served[Out]:
    """Answers to all inputs within `budget_ms` by one of the versions (the worst first), or
    DeadlineInfeasible before any of them. What was measured corrects the latency model.

    >>> from onesec.budget.latency import GearCost
    >>> from onesec.core.clock import FakeClock
    >>> costs = {"small": GearCost(b_ms=1.0, q_ms=1.0), "large": GearCost(b_ms=9.0, q_ms=9.0)}
    >>> versions = {"small": round, "large": float}
    >>> [serve(versions, [2.5], ms, LatencyModel(costs), FakeClock()).answers for ms in (5.0, 10.0)]
    [[2], [2.5]]
    """
    begin_ns = clock.now_ns()
    chosen = plan_calls(tuple(versions), len(inputs), budget_ms, latency)
    answers, times = call_each(versions[chosen.gear], inputs, clock)
    elapsed_ms = (clock.now_ns() - begin_ns) * 1e-6
    latency.observe_decode(chosen.gear, 0, 1, times)
    return Served(answers, chosen, elapsed_ms)


def call_each(
    version: Callable[[In], Out], inputs: Sequence[In], clock: Clock
) -> tuple[list[Out], list[float]]:
    """The answer to each input, and the milliseconds that each call took."""
    answers, seen_ns = [], [clock.now_ns()]
    for one in inputs:
        answers.append(version(one))
        seen_ns.append(clock.now_ns())
    return answers, (np.diff(seen_ns) * 1e-6).tolist()


def _round(
    versions: Mapping[str, Callable[[In], Out]], inputs: Sequence[In], clock: Clock
) -> dict[str, list[float]]:
    """Milliseconds of each call, by version."""
    times = {}
    for name, version in versions.items():
        version(inputs[0])  # the caches hold another version's weights
        times[name] = call_each(version, inputs, clock)[1]
    return times
