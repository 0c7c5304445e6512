"""Trace: the record of one request that explains it: predicted, decided, measured, used.

It must not decide anything. Bounded: a trace holds at most MAX_EVENTS events.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

MAX_EVENTS = 4096


@dataclass(frozen=True, slots=True)
class Event:
    """`at_ms` since arrival; `kind` one of plan, prefill, decode, shift, close_thinking, land,
    stop, refuse."""

    at_ms: float
    kind: str
    detail: dict[str, Any]


@dataclass(slots=True)
class Trace:
    """One request's story. Times are milliseconds since arrival."""

    request_id: str
    budget_ms: float | None = None
    predicted_ms: float | None = None
    elapsed_ms: float = 0.0
    ttft_ms: float | None = None
    met: bool | None = None  # None without a budget
    ending: str = ""  # natural, landed, cut
    gears: dict[str, int] = field(default_factory=dict)  # tokens drawn at each gear
    sampling: dict[str, Any] = field(default_factory=dict)  # the values that are not the defaults
    prompt_tokens: int = 0
    cached_tokens: int = 0
    answer_tokens: int = 0
    drafted_tokens: int = 0  # guessed ahead
    accepted_tokens: int = 0  # of the guessed ones, those that were drawn too
    cpu_ms: float = 0.0
    bytes_read: int = 0
    peak_kv_bytes: int = 0
    events: list[Event] = field(default_factory=list)

    def add(self, at_ms: float, kind: str, **detail: Any) -> None:
        """Append an event; past MAX_EVENTS it is dropped."""
        if len(self.events) < MAX_EVENTS:
            self.events.append(Event(at_ms, kind, detail))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)
