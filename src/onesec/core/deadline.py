"""Budget: durations that a caller grants. Deadline: a Budget fixed to the monotonic clock.

They must not know what the time is spent on.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from .errors import InvalidRequest

_DURATION = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(ms|s|m|min)?\s*")
_UNIT_MS = {"ms": 1.0, "s": 1e3, "m": 6e4, "min": 6e4}
MAX_BUDGET_MS = 600_000.0


def parse_duration_ms(value: str | float | int) -> float:
    """Milliseconds from "800ms", "1.5s", "2min", or a bare number of seconds.

    >>> parse_duration_ms("800ms"), parse_duration_ms("1.5s"), parse_duration_ms(2)
    (800.0, 1500.0, 2000.0)
    """
    if isinstance(value, str):
        match = _DURATION.fullmatch(value)
        if match is None:
            raise InvalidRequest(
                f"{value!r} is not a duration.", hint='Write for example "800ms" or "1.5s".'
            )
        result = float(match[1]) * _UNIT_MS[match[2] or "s"]
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidRequest(f"a duration cannot be a {type(value).__name__}.")
    else:
        result = float(value) * 1e3
    if not math.isfinite(result) or not 0.0 < result <= MAX_BUDGET_MS:
        raise InvalidRequest(
            f"{value!r} is a duration of {result:g} ms; it must be more than 0 and at most "
            f"{MAX_BUDGET_MS:g}.",
            hint='A number alone counts seconds; milliseconds are written "800ms".',
        )
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Durations granted, in milliseconds; None = unlimited. `total_ms` covers everything from
    arrival to the last token, `ttft_ms` the first token; `tpot_ms` is what a token after the first
    may take on average: (instant of the last token - of the first) / (tokens - 1), where a token's
    instant is that of its hand-over. An answer of one token keeps any `tpot_ms`.

    Raises InvalidRequest on durations out of range.

    >>> Budget(total_ms=2000.0, ttft_ms=300.0, tpot_ms=25.0).ttft_ms
    300.0
    """

    total_ms: float | None = None
    ttft_ms: float | None = None
    tpot_ms: float | None = None

    def __post_init__(self) -> None:
        for name in ("total_ms", "ttft_ms", "tpot_ms"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value <= MAX_BUDGET_MS:
                raise InvalidRequest(
                    f"{name} is {value}; it must lie in (0, {MAX_BUDGET_MS:g}] milliseconds."
                )

    @property
    def limited(self) -> bool:
        """Whether there is any limit at all."""
        return (self.total_ms, self.ttft_ms, self.tpot_ms) != (None, None, None)

    @classmethod
    def of(cls, value: str | float | Budget | None) -> Budget:
        """A Budget as it is, None as an unlimited one, a duration as the time for everything.

        >>> Budget.of("800ms").total_ms
        800.0
        """
        if value is None or isinstance(value, Budget):
            return value or cls()
        return cls(total_ms=parse_duration_ms(value))

    def deadline(self, arrival_ns: int) -> Deadline:
        """Fix the budget to the clock instant `arrival_ns`."""
        return Deadline(
            total_ns=None if self.total_ms is None else arrival_ns + round(self.total_ms * 1e6),
            ttft_ns=None if self.ttft_ms is None else arrival_ns + round(self.ttft_ms * 1e6),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """Instants owed, on the monotonic clock in nanoseconds; None = never."""

    total_ns: int | None = None
    ttft_ns: int | None = None

    def left_ms(self, now_ns: int) -> float:
        """Milliseconds until the whole answer is due; negative when late, inf without a
        deadline."""
        return math.inf if self.total_ns is None else (self.total_ns - now_ns) / 1e6
