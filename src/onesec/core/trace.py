"""Trace: the record of one request that explains it: predicted, decided, measured, used.

It must not decide anything. Bounded: MAX_EVENTS events and the confidence of as many tokens.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

MAX_EVENTS = 4096


@dataclass(frozen=True, slots=True)
class Event:
    """`at_ms` since arrival; `kind` one of fit, plan, prefill, decode, shift, close_thinking, land,
    no_time, stall, stop.

    An event that decides says in `detail` what it was decided on, in these words: `left_ms` until
    the last token must be there (of a rhythm: until the next ones are due), `for_others_ms` what of
    it is kept for others; `need_ms` what those tokens need at p95; `likely_ms` what a usual rest
    needs in the median, `by_ms` at p95.
    """

    at_ms: float
    kind: str
    detail: dict[str, Any]


@dataclass(slots=True)
class Trace:
    """One request's story. Times are milliseconds since arrival."""

    request_id: str
    budget_ms: float | None = None
    budget_ttft_ms: float | None = None
    budget_tpot_ms: float | None = None
    policy: str = "balanced"
    predicted_ms: float | None = None
    elapsed_ms: float = 0.0
    ttft_ms: float | None = None
    tpot_ms: float | None = None  # mean over the tokens after the first
    met: bool | None = None  # all budgets; None without one
    ending: str = ""  # natural, landed, cut
    gears: dict[str, int] = field(default_factory=dict)  # tokens drawn at each gear
    sampling: dict[str, Any] = field(default_factory=dict)  # the values that are not the defaults
    prompt_tokens: int = 0
    cached_tokens: int = 0
    preemptions: int = 0  # times it gave its room to a more urgent one, and was computed anew
    answer_tokens: int = 0
    drafted_tokens: int = 0  # guessed ahead
    accepted_tokens: int = 0  # of the guessed ones, those that were drawn too
    cpu_ms: float = 0.0
    bytes_read: int = 0
    peak_kv_bytes: int = 0
    confidence: list[float] = field(default_factory=list)  # a token, where asked for; in [0, 1]
    events: list[Event] = field(default_factory=list)
    dropped_events: int = 0

    def add(self, at_ms: float, kind: str, **detail: Any) -> None:
        """Append an event. Past MAX_EVENTS it is dropped and counted; the last place is the end's.

        >>> trace = Trace("r1")
        >>> trace.add(0.5, "land", token=3)
        >>> trace.events[0].detail
        {'token': 3}
        """
        if len(self.events) < MAX_EVENTS - (kind != "stop"):
            self.events.append(Event(at_ms, kind, detail))
        else:
            self.dropped_events += 1

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)
