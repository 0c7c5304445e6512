"""fit: measured samples to a LatencyModel, by least squares with non-negative coefficients.

It must not know who measured, or what the times are used for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from .latency import P50, P95, P99, GearCost, LatencyModel

_SHAPE = 0.25  # the quantile of repeated measurements that tells how a model's parts go together


@dataclass(frozen=True, slots=True)
class PrefillSample:
    """`tokens` prompt tokens after `start` cached ones took `ms`."""

    gear: str
    tokens: int
    ms: float
    start: int = 0


@dataclass(frozen=True, slots=True)
class StepSample:
    """One decode step of `batch` rows, each with `context` cached tokens, took `ms`."""

    gear: str
    context: int
    ms: float
    batch: int = 1


def fit(samples: Iterable[PrefillSample | StepSample]) -> LatencyModel:
    """The model of repeated measurements. How its parts go together is told by their lower
    quartiles, with least relative error: what else runs on a machine only ever makes things slower,
    and not all of them alike. How long prompts and steps take is told by the median of all.

    Every gear needs at least one prefill sample and one step sample of batch 1 (ValueError).

    >>> model = fit([PrefillSample("4", 10, 5.0), StepSample("4", 0, 8.0)])
    >>> round(model.cost("4").b_ms, 3), round(model.cost("4").q_ms, 3)
    (0.5, 8.0)
    """
    prefill: dict[str, list[PrefillSample]] = {}
    steps: dict[str, list[StepSample]] = {}
    for sample in samples:
        if isinstance(sample, PrefillSample):
            prefill.setdefault(sample.gear, []).append(sample)
        else:
            steps.setdefault(sample.gear, []).append(sample)
    if not prefill or prefill.keys() != steps.keys():
        raise ValueError(
            f"gears with prefill samples {sorted(prefill)} and with step samples "
            f"{sorted(steps)} differ or are none; measure both for each gear"
        )
    return LatencyModel({gear: _fit_gear(prefill[gear], steps[gear]) for gear in prefill})


def between(low: GearCost, high: GearCost, share: float) -> GearCost:
    """The cost of a gear whose steps read what `low` reads and a `share` of what `high` reads more:
    times are in proportion, the tails the wider ones.

    >>> between(GearCost(b_ms=1.0, q_ms=4.0), GearCost(b_ms=2.0, q_ms=8.0), 0.25).q_ms
    5.0
    """

    def mix(first: float, second: float) -> float:
        return first + (second - first) * share

    rows = sorted({rows for rows, _ in (*low.batch, *high.batch)})
    return GearCost(
        a_ms=mix(low.a_ms, high.a_ms),
        b_ms=mix(low.b_ms, high.b_ms),
        c_ms=mix(low.c_ms, high.c_ms),
        p_ms=mix(low.p_ms, high.p_ms),
        q_ms=mix(low.q_ms, high.q_ms),
        batch=tuple((n, mix(low.factor(n), high.factor(n))) for n in rows),
        prefill_tail=_wider(low.prefill_tail, high.prefill_tail),
        step_tail=_wider(low.step_tail, high.step_tail),
    )


def _wider(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    return max(first[0], second[0]), max(first[1], second[1])


def _fit_gear(prefill: list[PrefillSample], steps: list[StepSample]) -> GearCost:
    points = _typical(((s.tokens, s.start), s.ms) for s in prefill)
    # Where points are too few to tell the columns apart, the first ones explain them.
    rows = [[float(n), 1.0, float((s + n) ** 2 - s**2)] for n, s in points]
    b, a, c = _non_negative(np.array(rows), np.array(list(points.values())))
    step_points = _typical(((s.batch, s.context), s.ms) for s in steps)
    single = {context: ms for (batch, context), ms in step_points.items() if batch == 1}
    if not single:
        raise ValueError(f"gear {steps[0].gear!r} has no step sample of batch 1")
    # A step reads all weights, whatever the context: the constant part is never left out.
    q, p = _non_negative(
        np.array([[1.0, float(n)] for n in single]), np.array(list(single.values())), needed=(0,)
    )
    factors = [(1, 1.0)]
    for batch in sorted({batch for batch, _ in step_points} - {1}):
        ratios = [
            (ms - p * batch * context) / q
            for (rows_, context), ms in step_points.items()
            if rows_ == batch
        ]
        factors.append((batch, max(factors[-1][1], float(np.median(ratios)))))
    bare = GearCost(a_ms=a, b_ms=b, c_ms=c, p_ms=p, q_ms=q, batch=tuple(factors))
    quiet = LatencyModel({"": bare})
    prompt_ratios = [
        s.ms / quiet.prefill_ms("", s.tokens, start=s.start, quantile=P50) for s in prefill
    ]
    step_ratios = [s.ms / quiet.step_ms("", s.context, s.batch) for s in steps]
    prompt_level = float(np.median(prompt_ratios))
    step_level = float(np.median(step_ratios))
    return replace(
        bare,
        a_ms=a * prompt_level,
        b_ms=b * prompt_level,
        c_ms=c * prompt_level,
        p_ms=p * step_level,
        q_ms=q * step_level,
        prefill_tail=_fit_tail([ratio / prompt_level for ratio in prompt_ratios]),
        step_tail=_fit_tail([ratio / step_level for ratio in step_ratios]),
    )


def _typical(
    pairs: Iterable[tuple[tuple[int, int], float]],
) -> dict[tuple[int, int], float]:
    groups: dict[tuple[int, int], list[float]] = {}
    for key, ms in pairs:
        groups.setdefault(key, []).append(ms)
    return {key: float(np.quantile(v, _SHAPE, method="lower")) for key, v in groups.items()}


def _fit_tail(ratios: list[float]) -> tuple[float, float]:
    """(p95, p99) of the ratios, never nearer to 1 than a quiet machine's own jitter."""
    p95, p99 = np.quantile(ratios, [P95, P99])
    return min(max(float(p95), 1.02), 3.0), min(max(float(p99), 1.05), 4.0)


def _non_negative(
    design: npt.NDArray[np.float64],
    target: npt.NDArray[np.float64],
    needed: tuple[int, ...] = (),
) -> tuple[float, ...]:
    """Coefficients >= 0 of least relative error: the best of the few subsets of columns that hold
    the `needed` ones."""
    columns = design.shape[1]
    weighted, ones = design / target[:, None], np.ones(len(target))
    best, best_error = np.zeros(columns), math.inf
    for size in range(1, min(columns, len(target)) + 1):
        for subset in combinations(range(columns), size):
            if not set(needed) <= set(subset):
                continue
            chosen = list(subset)
            solution = np.linalg.lstsq(weighted[:, chosen], ones, rcond=None)[0]
            if (solution < 0.0).any():
                continue
            error = float(np.sum((weighted[:, chosen] @ solution - ones) ** 2))
            if error < best_error - 1e-12:
                best, best_error = np.zeros(columns), error
                best[chosen] = solution
    return tuple(float(value) for value in best)
