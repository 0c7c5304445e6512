"""Figures: the five that are always told together, and what two systems' replies differ by.

hit rate, overshoot, complete rate, score and budget use (see `five`). It must not know where the
outcomes come from.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from onesec.compress.evaluate import mean
from onesec.compress.scores import Z95, paired

from .drive import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Five:
    """Of `count` questions, `accepted` were begun. Of these: `hit_rate` ended within the budget,
    `complete_rate` came to an end of their own or were brought to one, `overshoot_p99_ms` is how
    late 99 of 100 were at most. `score` is the mean value over all questions, where a reply that is
    refused, late or cut counts 0, with the half width of its 95 % interval. `use` is the median
    share of the budget that accepted answers took, `use_needed` that of the answers which were
    landed or cut: they could have used all of it."""

    count: int
    accepted: int
    hit_rate: float
    overshoot_p99_ms: float
    complete_rate: float
    score: float
    score_half_width: float
    use: float
    use_needed: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; what is not a number becomes None."""
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in asdict(self).items()
        }


def five(outcomes: Sequence[Outcome]) -> Five:
    """The five figures of a cell: one system, one grid point, one group of questions."""
    taken = [o for o in outcomes if o.accepted]
    late = [
        max(0.0, o.elapsed_ms - o.budget_ms)
        for o in taken
        if o.elapsed_ms is not None and o.budget_ms is not None
    ]
    uses = [(o, o.elapsed_ms / o.budget_ms) for o in taken if o.elapsed_ms and o.budget_ms]
    score = mean(np.array([o.value for o in outcomes], dtype=np.float64))
    return Five(
        count=len(outcomes),
        accepted=len(taken),
        hit_rate=_share([o.met for o in taken]),
        overshoot_p99_ms=upper(late, 0.99),
        complete_rate=_share([o.complete and o.met for o in taken]),
        score=score.value,
        score_half_width=Z95 * score.se,
        use=_median([use for _, use in uses]),
        use_needed=_median([use for o, use in uses if o.ending != "natural"]),
    )


def difference(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> tuple[float, float]:
    """Mean of our values less theirs over the same questions in the same order, and the half width
    of its 95 % interval. Raises ValueError where the questions differ."""
    if any(a.question.id != b.question.id for a, b in zip(ours, theirs, strict=True)):
        raise ValueError("the outcomes are of other questions")
    found = paired([o.value for o in theirs], [o.value for o in ours])
    return found.value, Z95 * found.se


def upper(values: Sequence[float], quantile: float) -> float:
    """The smallest value that this share of them does not exceed; 0 of none.

    >>> upper([1.0, 2.0, 3.0, 4.0], 0.5)
    2.0
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(quantile * len(ordered)) - 1)] if ordered else 0.0


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else math.nan


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else math.nan
