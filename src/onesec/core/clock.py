"""Clock: the only source of time, so that tests can own it.

It must not know what the time is for. Instants are integers of nanoseconds (`_ns`) on a monotonic
clock; durations are floats with their unit in the name (`_s`, `_ms`).
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Anything that tells a monotonic instant."""

    def now_ns(self) -> int:
        """The present instant in nanoseconds; comparable only with this clock's other instants."""
        ...


class MonotonicClock:
    """The machine's CLOCK_MONOTONIC, the same that the native engine reads."""

    def now_ns(self) -> int:
        return time.monotonic_ns()


class FakeClock:
    """A clock that moves only when told to.

    >>> clock = FakeClock(); clock.advance_ms(2.5); clock.now_ns()
    2500000
    """

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        return self._now_ns

    def advance_ms(self, milliseconds: float) -> None:
        if milliseconds < 0:
            raise ValueError("time does not run backwards")
        self._now_ns += round(milliseconds * 1e6)
