"""Recent: a quantile of the last values seen. It must not know what they are."""

from __future__ import annotations

import math
from collections import deque


class Recent:
    """The `quantile` (0..1) of the last `window` values; `first` until there is one.

    >>> recent = Recent(3, 0.5, first=7.0)
    >>> recent.value
    7.0
    >>> for x in (9.0, 1.0, 2.0, 3.0):
    ...     recent.observe(x)
    >>> recent.value
    2.0
    """

    def __init__(self, window: int, quantile: float, first: float = 0.0) -> None:
        self._seen: deque[float] = deque(maxlen=window)
        self._quantile = quantile
        self.value = first

    @property
    def count(self) -> int:
        """Values that are remembered."""
        return len(self._seen)

    def observe(self, value: float) -> None:
        """Take in a value; the oldest one beyond the window is forgotten."""
        self._seen.append(value)
        rank = math.ceil(self._quantile * len(self._seen)) - 1
        self.value = sorted(self._seen)[rank]
