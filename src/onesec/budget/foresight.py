"""Foresight: moves the end that plans name at p95, so that 95 of 100 answers do end by it.

A plan adds up the p95 of a prompt's time, that of steps, and a length that most answers have; what
becomes better gears later and what ends early is not in it. So the sum is moved by a factor that
each end corrects: adaptive conformal inference (arXiv 2106.00072), whose share of misses goes to
what is asked for, however the errors are distributed. It must not know what a plan is made of.
"""

from __future__ import annotations

import math

_MISSES = 0.05
_RATE = 0.05  # e-folds that a miss moves the factor by, nearly
_BOUND = math.log(2.0)


class Foresight:
    """One factor, and its correction.

    >>> foresight = Foresight()
    >>> for _ in range(100):
    ...     foresight.observe(foresight.told_ms(100.0), 60.0)
    >>> 60.0 <= foresight.told_ms(100.0) < 80.0
    True
    """

    def __init__(self) -> None:
        self._log = 0.0

    def told_ms(
        self, planned_ms: float, *, least_ms: float = 0.0, most_ms: float = math.inf
    ) -> float:
        """The instant to name for an end that is planned by `planned_ms`, within bounds."""
        return max(least_ms, min(most_ms, planned_ms * math.exp(self._log)))

    def observe(self, told_ms: float, took_ms: float) -> None:
        """An answer ended after `took_ms`, where `told_ms` had been named."""
        missed = took_ms > told_ms
        self._log += _RATE * (missed - _MISSES)
        self._log = max(-_BOUND, min(_BOUND, self._log))
