"""Timeline: a trace's stretches of work, its expectations and its tokens on one axis of time.

It must not know how they are drawn or told. Instants are milliseconds since arrival.
"""

from __future__ import annotations

from dataclasses import dataclass

from onesec.core.trace import Trace

from .record import number


@dataclass(frozen=True, slots=True)
class Stretch:
    """Work of one `kind` ("prefill", "decode") in one gear; it ends at its event and is as long as
    the work in it took."""

    kind: str
    gear: str
    begin_ms: float
    end_ms: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Band:
    """What was expected at `at_ms`, by an event of that kind: to be done at `likely_ms` (median),
    or by `by_ms` (p95; while landing: the deadline)."""

    kind: str
    at_ms: float
    likely_ms: float
    by_ms: float


def stretches(trace: Trace) -> list[Stretch]:
    """The stretches of work, in order.

    >>> trace = Trace("r1"); trace.add(9.0, "decode", gear="8", ms=6.0, tokens=2)
    >>> stretches(trace)
    [Stretch(kind='decode', gear='8', begin_ms=3.0, end_ms=9.0, tokens=2)]
    """
    return [
        Stretch(
            event.kind,
            str(event.detail.get("gear", "?")),
            event.at_ms - (number(event.detail, "ms") or 0.0),
            event.at_ms,
            int(number(event.detail, "tokens") or 0),
        )
        for event in trace.events
        if event.kind in ("prefill", "decode")
    ]


def bands(trace: Trace) -> list[Band]:
    """What was expected at each event that changed it, in order."""
    found = []
    for event in trace.events:
        detail, at_ms = event.detail, event.at_ms
        if event.kind == "plan":
            likely, by = number(detail, "likely_ms"), number(detail, "predicted_ms")
        elif event.kind == "shift":
            likely, by = number(detail, "likely_ms"), number(detail, "need_there_ms")
            likely = None if likely is None else at_ms + likely
            by = None if by is None else at_ms + by
        elif event.kind == "land":
            left = number(detail, "left_ms")
            likely, by = at_ms, None if left is None else at_ms + left
        else:
            continue
        if likely is not None and by is not None:
            found.append(Band(event.kind, at_ms, likely, by))
    return found


def token_times(trace: Trace) -> list[float]:
    """When each of the answer's tokens came, in order; within a stretch they are taken to have come
    evenly. Shorter than the answer where the trace tells of fewer.

    >>> trace = Trace("r1", ttft_ms=3.0, answer_tokens=3)
    >>> trace.add(9.0, "decode", gear="8", ms=6.0, tokens=2); token_times(trace)
    [3.0, 6.0, 9.0]
    """
    found = [] if trace.ttft_ms is None else [trace.ttft_ms]
    for stretch in stretches(trace):
        if stretch.kind == "decode":
            count = min(stretch.tokens, trace.answer_tokens - len(found))
            step = (stretch.end_ms - stretch.begin_ms) / max(1, stretch.tokens)
            found += [stretch.begin_ms + step * (i + 1) for i in range(count)]
    return found[: trace.answer_tokens]


def token_gears(trace: Trace) -> list[str]:
    """The gear that each of the answer's tokens was drawn in, in order; as long as `token_times`.

    >>> trace = Trace("r1", ttft_ms=3.0, answer_tokens=2)
    >>> trace.add(3.0, "prefill", gear="4", tokens=9); trace.add(9.0, "decode", gear="8", tokens=3)
    >>> token_gears(trace)
    ['4', '8']
    """
    parts = stretches(trace)
    first = next((part.gear for part in parts if part.kind == "prefill"), "?")
    found = [] if trace.ttft_ms is None else [first]
    for part in parts:
        if part.kind == "decode":
            found += [part.gear] * min(part.tokens, trace.answer_tokens - len(found))
    return found[: trace.answer_tokens]
