"""Ratios: what was measured against what was expected, and how far their tails reach.

It must not know what was measured, or what is made of it.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

HORIZONS = (1, 8, 32, 128)  # tokens
_WINDOW = 256  # ratios remembered for each horizon
_TRUSTED = 20  # ratios needed before a window replaces the fitted tail


class Window:
    """The last ratios of measured / predicted, kept sorted."""

    __slots__ = ("_order", "_sorted")

    def __init__(self) -> None:
        self._order: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, ratio: float) -> None:
        if len(self._order) == _WINDOW:
            del self._sorted[bisect_left(self._sorted, self._order.popleft())]
        self._order.append(ratio)
        insort(self._sorted, ratio)

    def tail(self, quantile: float, fitted: float) -> float:
        """Conformal quantile (finite-sample corrected); `fitted` while ratios are too few."""
        count = len(self._sorted)
        if count < _TRUSTED:
            return fitted
        rank = math.ceil((count + 1) * quantile)
        if rank > count:
            return max(fitted, self._sorted[-1])
        return self._sorted[rank - 1]


class Chunks:
    """What is learned of prompt chunks, the short ones or the long ones, of whatever gears."""

    __slots__ = ("offset", "window")

    def __init__(self) -> None:
        self.offset = 0.0  # log
        self.window = Window()


class Steps:
    """Ratios of steps in a row, of whatever gears, over each horizon.

    They belong to the machine: if each gear had its own, one that has not run since others made the
    machine uneven would seem quicker than a cheaper one that has.
    """

    def __init__(self) -> None:
        self.windows = tuple(Window() for _ in HORIZONS)
        self._ms = [0.0] * len(HORIZONS)  # of the horizon that is being filled
        self._base = [0.0] * len(HORIZONS)
        self._count = [0] * len(HORIZONS)
        self._scale = [1.0] * len(HORIZONS)  # the machine's correction when it was opened
        self._tails: dict[tuple[float, float], tuple[float, ...]] = {}

    def tails(self, quantile: float, fitted: float) -> tuple[float, ...]:
        """The tail at each horizon, `fitted` being that of a single step: where too little was
        seen, what a tail adds grows with the root of the tokens, as noise does."""
        found = self._tails.get((quantile, fitted))
        if found is None:
            tail, known, tails = fitted, 1, []
            for window, horizon in zip(self.windows, HORIZONS, strict=True):
                tail = window.tail(quantile, 1.0 + (tail - 1.0) * math.sqrt(known / horizon))
                tails.append(tail)
                known = horizon
            found = self._tails[quantile, fitted] = tuple(tails)
        return found

    def add(self, ms: float, base: float, scale: float) -> None:
        """Fill every horizon by one step; a full one leaves its ratio in its window."""
        for i, horizon in enumerate(HORIZONS):
            if self._count[i] == 0:
                self._scale[i] = scale
            self._ms[i] += ms
            self._base[i] += base
            self._count[i] += 1
            if self._count[i] == horizon:
                self.windows[i].add(self._ms[i] / (self._base[i] * self._scale[i]))
                self._tails.clear()
                self._ms[i] = self._base[i] = 0.0
                self._count[i] = 0
