"""Overrun: how far behind their planned end answers are there that use their time up.

It must not know why: threads that wake late, a step that took longer than nearly all do.
"""

from __future__ import annotations

import math

from onesec.budget.policy import Policy
from onesec.core.errors import DeadlineInfeasible
from onesec.core.recent import Recent

from .sequence import Sequence

_WINDOW, _QUANTILE = 128, 0.98
_MOST_MS, _MOST_SHARE = (
    2.0,
    0.1,
)  # kept back of a budget for it; what is longer is a machine that hung


class Overrun:
    """Learned from the last answers that ended for want of time, and kept back of the next budgets
    where it is more than every budget keeps."""

    def __init__(self) -> None:
        self._recent = Recent(_WINDOW, _QUANTILE)

    def observe(self, sequence: Sequence, now_ns: int) -> None:
        """An answer ended now because its time did."""
        if sequence.end_ns is not None:
            self._recent.observe(max(0.0, (now_ns - sequence.end_ns) / 1e6))

    def kept_ms(self, budget_ms: float | None, policy: Policy) -> float:
        """Milliseconds to keep back of a budget beyond the policy's margin."""
        if budget_ms is None:
            return 0.0
        more_ms = self._recent.value - policy.flush_ms
        return min(max(0.0, more_ms), _MOST_MS, _MOST_SHARE * budget_ms)

    def offer(
        self, refusal: DeadlineInfeasible, kept_ms: float, policy: Policy
    ) -> DeadlineInfeasible:
        """The refusal of a budget of which `kept_ms` were kept back, with an offer that has room
        for what is kept back of it: of a larger budget that may be more."""
        more_ms = self.kept_ms(math.inf, policy) - kept_ms
        if refusal.which != "total" or more_ms <= 0.0:
            return refusal
        return DeadlineInfeasible(
            budget_ms=refusal.budget_ms,
            feasible_ms=math.ceil(refusal.feasible_ms + more_ms),
            why=refusal.why,
            which=refusal.which,
        )
