"""Serving: a regression's widths as gears, their times measured, and predictions within a deadline.

Rows are answered one by one, as tokens are: a row reads all weights. The planner is the one that
answers chat requests, and its words fit: the rows are the prompt's tokens, all known before work
starts, and the reply is a single token. It must not know how a model was learned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from onesec.backend.linear import WIDTHS, Linear
from onesec.budget.fit import PrefillSample, StepSample, fit
from onesec.budget.latency import LatencyModel
from onesec.budget.length import LengthModel
from onesec.budget.planner import Ask, Plan, plan
from onesec.core.clock import Clock
from onesec.core.gear import UNIFORM

Float32 = npt.NDArray[np.float32]
Predict = Callable[[Float32], Float32]
ROUNDS = 9


@dataclass(frozen=True, slots=True)
class Served:
    """Predictions float32 [rows, targets], the plan they followed, and the time they took."""

    predicted: Float32
    plan: Plan
    elapsed_ms: float


def by_width(model: Linear) -> dict[str, Predict]:
    """The model's widths as ways to predict, under their gears' names, the narrowest first."""
    return {UNIFORM[width].name: partial(model, width=width) for width in WIDTHS}


def measure(ways: Mapping[str, Predict], x: Float32, clock: Clock) -> LatencyModel:
    """Times of a half and of all of the rows of x in every way, in turns, so that a machine that
    changes its pace changes it for all; fitted as a + b·rows, with their quantiles."""
    samples: list[PrefillSample | StepSample] = []
    for _ in range(ROUNDS):
        for gear, predict in ways.items():
            predict(x[:1])  # the caches hold another way's weights
            for rows in (x[: (len(x) + 1) // 2], x):
                ms = _one_by_one(predict, rows, clock)[1]
                samples.append(PrefillSample(gear, len(rows), ms))
                samples.append(StepSample(gear, 0, ms / len(rows)))
    return fit(samples)


def offered(rows: int, latency: LatencyModel) -> tuple[str, ...]:
    """The widths that are worth their time, the cheapest first: without those that a better one
    beats on this machine."""
    names: list[str] = []
    for width in sorted(WIDTHS, reverse=True):
        name = UNIFORM[width].name
        if not names or latency.prefill_ms(name, rows) < latency.prefill_ms(names[0], rows):
            names.insert(0, name)
    return tuple(names)


def plan_rows(rows: int, budget_ms: float, latency: LatencyModel) -> Plan:
    """The best width whose p95 for `rows` predictions fits into `budget_ms`.

    Raises DeadlineInfeasible, with the smallest budget that works, where none does."""
    ask = Ask(
        prompt_tokens=rows,
        limit_tokens=1,
        gears=offered(rows, latency),
        budget_ms=budget_ms,
        chunk_tokens=rows,
    )
    return plan(ask, latency, LengthModel())


def serve(
    model: Linear, x: Float32, budget_ms: float, latency: LatencyModel, clock: Clock
) -> Served:
    """Predictions of the rows of x within `budget_ms`, or DeadlineInfeasible before any of them.
    What was measured corrects the latency model."""
    begin_ns = clock.now_ns()
    chosen = plan_rows(len(x), budget_ms, latency)
    predicted, ms = _one_by_one(by_width(model)[chosen.gear], x, clock)
    elapsed_ms = (clock.now_ns() - begin_ns) * 1e-6
    latency.observe_prefill(chosen.gear, len(x), ms)
    return Served(predicted, chosen, elapsed_ms)


def _one_by_one(predict: Predict, x: Float32, clock: Clock) -> tuple[Float32, float]:
    """Predictions of the rows of x, each alone, and the milliseconds that all of them took."""
    begin_ns = clock.now_ns()
    predicted = [predict(x[row : row + 1]) for row in range(len(x))]
    return np.concatenate(predicted), (clock.now_ns() - begin_ns) * 1e-6
