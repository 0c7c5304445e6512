"""Ratios: what was measured against what was expected, and how far their tails reach.

It must not know what was measured, or what is made of it.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from itertools import pairwise

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


@dataclass(slots=True)
class _Open:
    """A horizon that is being filled, with so many `parts` of the one before it."""

    parts: int
    count: int = 0
    ms: float = 0.0
    base: float = 0.0
    scale: float = 1.0  # the machine's correction when it was opened


class Steps:
    """Ratios of steps in a row, of whatever gears, over each horizon.

    They belong to the machine: if each gear had its own, one that has not run since others made the
    machine uneven would seem quicker than a cheaper one that has.
    """

    def __init__(self) -> None:
        self.windows = tuple(Window() for _ in HORIZONS)
        self._open = [_Open(n // before) for before, n in pairwise((1, *HORIZONS))]
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
        """Fill every horizon by one step; a full one leaves its ratio in its window, and is a part
        of the next longer one."""
        for filling, window in zip(self._open, self.windows, strict=True):
            if filling.count == 0:
                filling.scale = scale
            filling.count += 1
            filling.ms += ms
            filling.base += base
            if filling.count < filling.parts:
                return
            ms, base, scale = filling.ms, filling.base, filling.scale
            window.add(ms / (base * scale))
            self._tails.clear()
            filling.count, filling.ms, filling.base = 0, 0.0, 0.0
