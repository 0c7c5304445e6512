"""Scores: shares and means with their 95 % intervals, and differences and flips paired by question.

It must not know where the values come from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onesec.core.errors import InvalidRequest

from .evaluate import Float64Array, mean

Z95 = 1.959964  # the normal distribution's 97.5 % quantile


@dataclass(frozen=True, slots=True)
class Score:
    """A share or a mean of `count` values in [0, 1], and its 95 % interval."""

    count: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of (other - base) over the same `count` questions, and its standard error."""

    count: int
    value: float
    se: float


@dataclass(frozen=True, slots=True)
class Flips:
    """How many right replies of the base the other lost, and of its wrong ones gained; both as a
    share of all questions; and `p`, McNemar's exact one: how likely a split at least as uneven is
    where a flip goes either way with even odds. Equal scores may hide many flips (2407.09141)."""

    lost: int
    gained: int
    flip_rate: float
    p: float


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a share.

    >>> [round(x, 3) for x in wilson(90, 100)]
    [0.826, 0.945]
    """
    if not count:
        return 0.0, 1.0
    z2 = Z95 * Z95
    share = right / count
    middle = share + z2 / (2 * count)
    half = Z95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    scale = 1 + z2 / count
    # At the ends rounding may leave the share just outside.
    low, high = (middle - half) / scale, (middle + half) / scale
    return max(0.0, min(low, share)), min(1.0, max(high, share))


def share(values: Sequence[float]) -> Score:
    """Share of values that are 1, among zeros and ones.

    >>> share([1.0, 0.0]).value
    0.5
    """
    right = sum(value == 1.0 for value in values)
    low, high = wilson(right, len(values))
    return Score(len(values), right / len(values) if values else math.nan, low, high)


def average(values: Sequence[float]) -> Score:
    """Mean of values in [0, 1]; its interval is the normal one, from the sample's spread."""
    found = mean(np.asarray(values, dtype=np.float64))
    half = Z95 * found.se
    low, high = max(0.0, found.value - half), min(1.0, found.value + half)
    return Score(len(values), found.value, low, high)


def paired(base: Sequence[float], other: Sequence[float]) -> Difference:
    """How `other` differs from `base`, question by question.

    Raises InvalidRequest where the counts differ.

    >>> paired([1.0, 1.0, 0.0], [0.0, 1.0, 1.0])
    Difference(count=3, value=0.0, se=0.5773502691896258)
    """
    a, b = _pairs(base, other)
    found = mean(b - a)
    return Difference(len(base), found.value, found.se)


def flips(base: Sequence[float], other: Sequence[float]) -> Flips:
    """Which replies turned from right (1) to wrong (less), and back, question by question.

    Raises InvalidRequest where the counts differ.

    >>> flips([1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0])
    Flips(lost=2, gained=1, flip_rate=0.75, p=1.0)
    """
    a, b = _pairs(base, other)
    lost, gained = int(((a == 1.0) & (b < 1.0)).sum()), int(((a < 1.0) & (b == 1.0)).sum())
    rate = (lost + gained) / len(base) if len(base) else math.nan
    return Flips(lost, gained, rate, mcnemar(lost, gained))


def mcnemar(lost: int, gained: int) -> float:
    """The two-sided exact p of McNemar's test: twice the binomial tail of the rarer kind of flip.

    >>> mcnemar(0, 5), mcnemar(3, 3)
    (0.0625, 1.0)
    """
    total = lost + gained
    tail: int = sum(math.comb(total, k) for k in range(min(lost, gained) + 1))
    return min(1.0, 2 * tail / (1 << total))


def _pairs(base: Sequence[float], other: Sequence[float]) -> tuple[Float64Array, Float64Array]:
    if len(base) != len(other):
        raise InvalidRequest(f"{len(other)} values cannot be paired with {len(base)}.")
    return np.asarray(base, dtype=np.float64), np.asarray(other, dtype=np.float64)
