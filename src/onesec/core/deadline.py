"""Budget: durations that a caller grants. Deadline: a Budget fixed to the monotonic clock.

A Deadline hands its time down to the parts of a work. They must not know what the time is spent on.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from .clock import MonotonicClock
from .errors import DeadlineInfeasible, InvalidRequest

_DURATION = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(ms|s|m|min)?\s*")
_UNIT_MS = {"ms": 1.0, "s": 1e3, "m": 6e4, "min": 6e4}
MAX_BUDGET_MS = 600_000.0
_NOTHING_MS = 1e-3  # a budget of what is over: none can be met in it


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
        try:
            result = float(value) * 1e3
        except OverflowError:
            raise InvalidRequest("that number is too large for a duration.") from None
    if not math.isfinite(result) or not 0.0 < result <= MAX_BUDGET_MS:
        raise InvalidRequest(
            f"{value!r} is a duration of {result:.12g} ms; it must be more than 0 and at most "
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
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise InvalidRequest(
                    f"{name} is a {type(value).__name__}; it must be a number of milliseconds.",
                    hint='Budget.of("800ms") reads durations.',
                )
            if not 0.0 < value <= MAX_BUDGET_MS:
                raise InvalidRequest(
                    f"{name} is {value}; it must lie in (0, {MAX_BUDGET_MS:g}] milliseconds."
                )

    @property
    def limited(self) -> bool:
        """Whether there is any limit at all."""
        return (self.total_ms, self.ttft_ms, self.tpot_ms) != (None, None, None)

    @classmethod
    def of(cls, value: Duration, now_ns: int | None = None) -> Budget:
        """A Budget as it is, None as an unlimited one, a duration as the time for everything, a
        Deadline as what is left of it (of nothing left a microsecond, which is refused).

        >>> Budget.of("800ms").total_ms
        800.0
        """
        if isinstance(value, Deadline):
            now_ns = _instant(now_ns)
            total, first = (
                None if due_ns is None else max(_NOTHING_MS, (due_ns - now_ns) / 1e6)
                for due_ns in (value.total_ns, value.ttft_ns)
            )
            return cls(total_ms=total, ttft_ms=first)
        if value is None or isinstance(value, Budget):
            return value or cls()
        return cls(total_ms=parse_duration_ms(value))

    def deadline(self, arrival_ns: int | None = None) -> Deadline:
        """Fix the budget to the clock instant `arrival_ns` (now)."""
        arrival_ns = _instant(arrival_ns)
        return Deadline(
            total_ns=None if self.total_ms is None else arrival_ns + round(self.total_ms * 1e6),
            ttft_ns=None if self.ttft_ms is None else arrival_ns + round(self.ttft_ms * 1e6),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """Instants owed, on the monotonic clock in nanoseconds; None = never.

    A work in several parts hands its time down: each part gets its share of what is left then, so
    what one part did not use is the others'. `now_ns` may be left out where the clock is the
    process's own.

    >>> due = Deadline.within("1s")
    >>> plan_by = due.part(2, of=4)           # half of the second, for a first call
    >>> tool_by = due.part(1, of=2)           # half of what is left then, for a tool
    >>> answer_by = due.part(least_ms=50)     # all that is left; 50 ms of it are needed
    """

    total_ns: int | None = None
    ttft_ns: int | None = None

    @classmethod
    def within(cls, value: str | float | Budget | None, now_ns: int | None = None) -> Deadline:
        """The deadline of a duration (see parse_duration_ms) or Budget that begins now."""
        return Budget.of(value).deadline(now_ns)

    def left_ms(self, now_ns: int | None = None) -> float:
        """Milliseconds until the whole answer is due; negative when late, inf without a
        deadline."""
        return math.inf if self.total_ns is None else (self.total_ns - _instant(now_ns)) / 1e6

    def part_ms(
        self,
        weight: float = 1.0,
        *,
        of: float = 1.0,
        reserve_ms: float = 0.0,
        least_ms: float = 0.0,
        now_ns: int | None = None,
    ) -> float:
        """Milliseconds that the next part may take; inf without a deadline.

        weight, of   its weight, and that of all parts still to do, itself included; a weight above
                     its due is generous to what comes first, and never gives more than there is
        reserve_ms   kept for what follows the last part
        least_ms     given to it in any case, as far as there is as much

        Raises InvalidRequest where one of them is no number, or negative, and where `of` is 0.

        >>> Deadline(total_ns=10**9).part_ms(1, of=4, reserve_ms=200, now_ns=0)
        200.0
        """
        _check_parts(weight=weight, of=of, reserve_ms=reserve_ms, least_ms=least_ms)
        there_ms = max(0.0, self.left_ms(now_ns) - reserve_ms)
        if math.isinf(there_ms):
            return there_ms
        return min(there_ms, max(least_ms, there_ms * weight / of))

    def part(
        self,
        weight: float = 1.0,
        *,
        of: float = 1.0,
        reserve_ms: float = 0.0,
        least_ms: float = 0.0,
        now_ns: int | None = None,
    ) -> Deadline:
        """The deadline of the next part, which takes at most `part_ms`; first tokens are not
        handed down. Raises InvalidRequest as `part_ms` does, and DeadlineInfeasible where not even
        `least_ms` are left beside the reserve, before anything is spent on it; its `feasible_ms`
        counts from now."""
        _check_parts(weight=weight, of=of, reserve_ms=reserve_ms, least_ms=least_ms)
        now_ns = _instant(now_ns)
        there_ms = self.left_ms(now_ns) - reserve_ms
        if least_ms > max(0.0, there_ms):
            raise DeadlineInfeasible(
                budget_ms=max(0.0, there_ms + reserve_ms),
                feasible_ms=least_ms + reserve_ms,
                why=f"the next part takes {least_ms:g} ms"
                + (f" and {reserve_ms:g} ms are kept for the end" if reserve_ms else ""),
            )
        part_ms = self.part_ms(
            weight, of=of, reserve_ms=reserve_ms, least_ms=least_ms, now_ns=now_ns
        )
        return Deadline(total_ns=None if math.isinf(part_ms) else now_ns + int(part_ms * 1e6))


Duration = str | float | Budget | Deadline | None


def _instant(now_ns: int | None) -> int:
    return MonotonicClock().now_ns() if now_ns is None else now_ns


def _check_parts(**values: float) -> None:
    """Raise InvalidRequest for values that no time can be divided by."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidRequest(f"{name} is a {type(value).__name__}; it must be a number.")
        if not (value >= 0.0 and math.isfinite(value)):
            raise InvalidRequest(f"{name} is {value}; it must be a number of 0 or more.")
    if values["of"] == 0.0:
        raise InvalidRequest(
            "of is 0; it must be more than 0.",
            hint="It is the weight of all parts that are still to do, the next one included.",
        )
