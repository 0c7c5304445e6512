"""Timeline: a trace's stretches of work, its expectations and its tokens on one axis of time.

It must not know how they are drawn or told. Instants are milliseconds since arrival.
"""

from __future__ import annotations

from dataclasses import dataclass

from onesec.core.trace import Event, Trace

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
    return [_stretch(event) for event in trace.events if event.kind in ("prefill", "decode")]


def _stretch(event: Event) -> Stretch:
    ms, tokens = number(event.detail, "ms"), number(event.detail, "tokens")
    gear, begin_ms = str(event.detail.get("gear", "?")), event.at_ms - (ms or 0.0)
    return Stretch(event.kind, gear, begin_ms, event.at_ms, int(tokens or 0))


def bands(trace: Trace) -> list[Band]:
    """What was expected at each event that changed it, in order."""
    found = []
    for event in trace.events:
        detail, at_ms = event.detail, event.at_ms
        if event.kind == "plan":
            likely, by = number(detail, "likely_ms"), number(detail, "predicted_ms")
        elif event.kind == "shift":
            likely, by = number(detail, "likely_ms"), number(detail, "by_ms")
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
    return [at_ms for at_ms, _ in _tokens(trace)]


def token_gears(trace: Trace) -> list[str]:
    """The gear that each of the answer's tokens was drawn in, in order ("" for one that was put in,
    to end the thinking); as long as `token_times`.

    >>> trace = Trace("r1", ttft_ms=3.0, answer_tokens=2)
    >>> trace.add(3.0, "prefill", gear="4", tokens=9); trace.add(9.0, "decode", gear="8", tokens=3)
    >>> token_gears(trace)
    ['4', '8']
    """
    return [gear for _, gear in _tokens(trace)]


def _tokens(trace: Trace) -> list[tuple[float, str]]:
    """When each token came, and in which gear. The first one comes from the prompt's last step."""
    found = []
    if trace.ttft_ms is not None:
        first = next((part.gear for part in stretches(trace) if part.kind == "prefill"), "?")
        found.append((trace.ttft_ms, first))
    for event in trace.events:
        if event.kind not in ("decode", "close_thinking"):
            continue
        part = _stretch(event)
        count = min(part.tokens, trace.answer_tokens - len(found))
        if event.kind == "close_thinking":
            found += [(event.at_ms, "")] * count
        else:
            step = (part.end_ms - part.begin_ms) / max(1, part.tokens)
            found += [(part.begin_ms + step * (i + 1), part.gear) for i in range(count)]
    return found[: trace.answer_tokens]
