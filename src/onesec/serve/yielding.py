"""Yielding: how many threads compute while those that answer the door need a CPU too.

It must not know what is computed or answered. Threads that compute meet after every product: one
that is interrupted makes all of them wait, so that one thread fewer computes more.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from onesec.core.clock import Clock

_WINDOW_NS = 100_000_000  # that shares are of
_TAKEN, _LEFT = 0.3, 0.15  # of a CPU: from here on one is left to them; below it is taken back


def process_clock(pid: int) -> int:
    """The id of a process's CPU clock, for `time.clock_gettime_ns` (Linux: the number in the
    kernel's own form, as clock_getcpuclockid gives it).

    >>> import os
    >>> time.clock_gettime_ns(process_clock(os.getpid())) > 0
    True
    """
    return (~pid << 3) | 2


def spent_ns(*clock_ids: int) -> int:
    """CPU time of the owners of these clocks so far; one that is over counts nothing more."""
    return sum(_read(clock_id) for clock_id in clock_ids)


class Yielding:
    """Lets `use` so many of `most` threads compute as those leave whose CPU time `spent` tells."""

    def __init__(
        self, use: Callable[[int], None], most: int, spent: Callable[[], int], clock: Clock
    ) -> None:
        self._use, self._most = use, most
        self._spent, self._clock = spent, clock
        self._spared = 0
        self._since_ns, self._spent_ns = clock.now_ns(), spent()

    def look(self) -> None:
        """Between two computations: see what the others took of late, once a window is over."""
        now_ns = self._clock.now_ns()
        if now_ns - self._since_ns < _WINDOW_NS:
            return
        total_ns = self._spent()
        share = (total_ns - self._spent_ns) / (now_ns - self._since_ns)
        self._since_ns, self._spent_ns = now_ns, total_ns
        if share > self._spared + _TAKEN and self._spared + 1 < self._most:
            self._spared += 1
        elif self._spared > 0 and share < self._spared - 1 + _LEFT:
            self._spared -= 1
        else:
            return
        self._use(self._most - self._spared)


def _read(clock_id: int) -> int:
    try:
        return time.clock_gettime_ns(clock_id)
    except OSError:  # over, or a system without such clocks
        return 0
