"""Histogram: lengths counted in geometric bins, with another histogram's survival as the prior.

It must not know what is measured. A length that was stopped early counts as "at least that long"
(Kaplan-Meier), and what was counted fades, so that a changed use is followed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_KEEP = 1.0 - 1.0 / 256.0  # of every count, with each further answer
_LEAST = 1e-3  # answers; what has faded below is not kept
_MOST = 1.0 / (1.0 - _KEEP)  # answers that all counts together come to


def _edges() -> tuple[int, ...]:
    edges = [0]
    while edges[-1] < 1 << 17:
        edges.append(max(edges[-1] + 1, round(edges[-1] * 1.19)))
    return tuple(edges)


EDGES = _edges()  # bin i holds lengths in (EDGES[i], EDGES[i + 1]]
BINS = len(EDGES) - 1
Survival = list[float]  # S[i]: probability of more than EDGES[i]; S[0] = 1, falling
Counts = npt.NDArray[np.float64]  # [BINS]


def log_logistic(median: float, shape: float) -> Survival:
    """The survival 1 / (1 + (n / median)^shape) at the edges: what is believed before any answer.

    >>> log_logistic(96.0, 1.7)[0]
    1.0
    """
    return [1.0 / (1.0 + (n / median) ** shape) for n in EDGES]


def at(survival: Survival, length: float) -> float:
    """The survival at any length, with straight lines between the edges."""
    index = min(BINS - 1, bisect_right(EDGES, length) - 1)
    share = min(1.0, (length - EDGES[index]) / (EDGES[index + 1] - EDGES[index]))
    return survival[index] + share * (survival[index + 1] - survival[index])


def where(survival: Survival, level: float) -> float:
    """The length at which a survival has fallen to `level`."""
    low, high = 0, BINS
    while low < high:  # first edge whose survival is at or below the level
        middle = (low + high) // 2
        if survival[middle] > level:
            low = middle + 1
        else:
            high = middle
    if low == 0:
        return 0.0
    above, below = survival[low - 1], survival[low]
    share = 1.0 if above <= below else min(1.0, (above - level) / (above - below))
    return EDGES[low - 1] + share * (EDGES[low] - EDGES[low - 1])


class Histogram:
    """Counts of lengths, in answers. `lead` is a running score that its owner keeps beside them.

    >>> histogram = Histogram()
    >>> for _ in range(200): histogram.add(40.0, ended=True)
    >>> 33 < where(histogram.survival(log_logistic(96.0, 1.7), 8.0), 0.5) < 41
    True
    """

    __slots__ = ("_prior", "_survival", "added", "ended", "lead", "stopped")

    def __init__(self) -> None:
        self.ended: Counts = np.zeros(BINS)
        self.stopped: Counts = np.zeros(BINS)
        self.added = 0  # answers since it was made, however faded
        self.lead = 0.0
        self._prior: Survival | None = None  # that _survival was computed with
        self._survival: Survival = []

    def add(self, length: float, *, ended: bool) -> None:
        """Count one answer; `ended` is False where it was stopped early."""
        self._fade(1)
        index = min(BINS - 1, max(0, bisect_left(EDGES, length) - 1))
        (self.ended if ended else self.stopped)[index] += 1.0
        self.added += 1

    def absorb(self, later: Histogram) -> None:
        """Add what another one counted, as if its answers had come after those counted here."""
        self._fade(later.added)
        self.ended += later.ended
        self.stopped += later.stopped
        self.added += later.added

    def _fade(self, answers: int) -> None:
        keep = _KEEP**answers
        self.ended *= keep
        self.stopped *= keep
        self._prior = None

    def survival(self, prior: Survival, weight: float) -> Survival:
        """The survival by these counts, where `prior` counts as `weight` answers in every bin."""
        if self._prior is not prior:
            before = np.array(prior)
            leaving = self.ended + self.stopped
            at_risk = leaving[::-1].cumsum()[::-1]
            staying = before[1:] / before[:-1]
            hazard = (weight * (1.0 - staying) + self.ended) / (weight + at_risk)
            left = np.maximum(np.cumprod(1.0 - hazard), 1e-12)
            self._prior, self._survival = prior, [1.0, *left.tolist()]
        return self._survival

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "ended": _pairs(self.ended),
            "stopped": _pairs(self.stopped),
            "lead": round(self.lead, 4),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Histogram:
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError on anything else."""
        made = cls()
        for name, counts in (("ended", made.ended), ("stopped", made.stopped)):
            for index, count in values[name]:
                if type(index) is not int or not 0 <= index < BINS:
                    raise ValueError(f"bin {index!r} is not in [0, {BINS})")
                counts[index] = _finite(count, 0.0, _MOST)
        if made.ended.sum() + made.stopped.sum() > _MOST + 1.0:
            raise ValueError(f"more than {_MOST:.0f} answers are counted")
        made.lead = _finite(values["lead"], -1e3, 1e3)
        return made


def _pairs(counts: Counts) -> list[list[float]]:
    """[bin, count] of the bins that hold something."""
    return [[int(i), round(float(counts[i]), 4)] for i in np.flatnonzero(counts > _LEAST)]


def _finite(value: Any, low: float, high: float) -> float:
    number = float(value)
    if not low <= number <= high:  # NaN lies nowhere
        raise ValueError(f"{value!r} does not lie in [{low}, {high}]")
    return number
