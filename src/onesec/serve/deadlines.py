"""Deadlines: from what a caller says, and what the server allows, to the request's Budget.

It must not know how time is spent. The budget is a duration; it runs from the first byte received.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from onesec.core.deadline import MAX_BUDGET_MS, Budget
from onesec.core.recent import Recent

from .errors import ApiError

GRACE_MS = 1000.0  # after its deadline a request is waited for no longer
_LAGS, _LAG_QUANTILE = 64, 0.98  # requests that the door's own time is learned from
_FIRST_LAG_MS = 1.0  # believed until then
_MOST_SHARE = 0.25  # of a budget that may be kept back for the door


def budget_of(
    deadline_ms: float | None,
    ttft_ms: float | None,
    headers: Mapping[str, str],
    *,
    tpot_ms: float | None = None,
    default_ms: float | None,
    cap_ms: float,
) -> Budget:
    """The body's field goes before the header `x-deadline-ms`, that before the server's default.
    Where a caller names none, the time after which its client gives up is an upper bound. Raises
    ApiError for values out of range.

    >>> budget_of(None, None, {"x-stainless-read-timeout": "2"}, default_ms=None, cap_ms=6e5)
    Budget(total_ms=2000.0, ttft_ms=None, tpot_ms=None)
    """
    total_ms = _checked("deadline_ms", deadline_ms)
    if total_ms is None and "x-deadline-ms" in headers:
        total_ms = _checked("x-deadline-ms", _number(headers["x-deadline-ms"]))
    if total_ms is None:
        hint_ms = 1e3 * _number(headers.get("x-stainless-read-timeout", ""))
        patience = [default_ms] if default_ms is not None else []
        if 0.0 < hint_ms < cap_ms:
            patience.append(hint_ms)
        total_ms = min(patience, default=None)
    if total_ms is not None:
        total_ms = min(total_ms, cap_ms)
    return Budget(
        total_ms=total_ms,
        ttft_ms=_checked("ttft_ms", ttft_ms),
        tpot_ms=_checked("tpot_ms", tpot_ms),
    )


def _number(text: str) -> float:
    """A decimal number, or nan."""
    try:
        return float(text) if len(text) <= 32 and text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


def _checked(name: str, value: float | None) -> float | None:
    if value is None or 0.0 < value <= MAX_BUDGET_MS:
        return value
    raise ApiError(
        "invalid_request",
        f"{name} must be a number of milliseconds in (0, {MAX_BUDGET_MS:g}].",
        param=name,
    )


class DoorTime:
    """Milliseconds that the door itself needs, at p98 of the last requests: `entry` from the first
    byte to the engine, `exit` from the engine's last token to the last byte. Kept back of budgets,
    and added to counter-offers. Few requests, so that a rush is soon forgotten."""

    def __init__(self) -> None:
        self.entry = Recent(_LAGS, _LAG_QUANTILE, _FIRST_LAG_MS)
        self.exit = Recent(_LAGS, _LAG_QUANTILE, _FIRST_LAG_MS)

    def inside(self, budget: Budget) -> Budget:
        """What the engine may use of a budget."""
        return Budget(
            total_ms=None if budget.total_ms is None else self._less(budget.total_ms),
            ttft_ms=None if budget.ttft_ms is None else self._less(budget.ttft_ms),
            tpot_ms=budget.tpot_ms,  # between tokens the door's time is the same for each
        )

    def outside(self, engine_ms: float, entered_ms: float) -> float:
        """A budget, in whole milliseconds, that would do where the engine asks for `engine_ms`,
        this request's way in of `entered_ms` among them."""
        engine_ms += max(0.0, self.entry.value - entered_ms)
        return float(math.ceil(min(engine_ms + self.exit.value, engine_ms / (1.0 - _MOST_SHARE))))

    def _less(self, ms: float) -> float:
        return ms - min(self.exit.value, _MOST_SHARE * ms)
