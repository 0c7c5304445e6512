"""Picture: a trace as an SVG time line: what ran when, in which gear, beside budget and prediction.

It must not know files, and needs no script or network.
"""

from __future__ import annotations

from html import escape

from onesec.core.trace import Trace

_WIDTH, _LEFT, _RIGHT, _TOP, _BAR = 760, 70, 20, 34, 26
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1b1f24}.soft{fill:#667}"
    ".prefill{fill:#8fb8de}.decode{fill:#0b62c4}.wait{fill:#e4e7eb}.line{stroke:#c4480b}"
    ".dash{stroke:#667;stroke-dasharray:4 3}"
    "@media(prefers-color-scheme:dark){text{fill:#e8eaed}.soft{fill:#9aa3ad}.wait{fill:#343a42}"
    ".decode{fill:#6cb0ff}.prefill{fill:#35597c}}"
)


def picture(trace: Trace) -> str:
    """The SVG document: a lane a gear, the cheapest at the bottom; lines for budget, prediction,
    landing and the first token.

    >>> picture(Trace("r1", elapsed_ms=5.0)).startswith("<svg")
    True
    """
    spans = _spans(trace)
    gears = list(dict.fromkeys(gear for *_, gear in spans)) or ["-"]
    gears.sort(key=_gear_order, reverse=True)
    end_ms = max(trace.elapsed_ms, trace.budget_ms or 0.0, trace.predicted_ms or 0.0, 1e-6)
    base = _TOP + _BAR * len(gears) + 8

    def x(ms: float) -> float:
        return _LEFT + min(max(ms / end_ms, 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT)

    parts = [f"<style>{_STYLE}</style>"]
    for lane, gear in enumerate(gears):
        y = _TOP + lane * _BAR
        parts.append(f'<text x="4" y="{y + 16}">gear {escape(gear)}</text>')
        width = x(trace.elapsed_ms) - x(0.0)
        parts.append(
            f'<rect class="wait" x="{x(0.0):.1f}" y="{y}" width="{width:.1f}" height="20"/>'
        )
    for kind, begin_ms, stop_ms, tokens, gear in spans:
        y = _TOP + gears.index(gear) * _BAR
        width = max(1.0, x(stop_ms) - x(begin_ms))
        parts.append(
            f'<rect class="{kind}" x="{x(begin_ms):.1f}" y="{y}" width="{width:.1f}" height="20">'
            f"<title>{kind}: {tokens} tokens, {begin_ms:.3g} to {stop_ms:.3g} ms</title></rect>"
        )
    marks: list[tuple[float | None, str, str]] = [
        (trace.budget_ms, "budget", "line"),
        (trace.predicted_ms, "predicted", "dash"),
        (trace.ttft_ms, "first token", "dash"),
    ]
    marks += [(event.at_ms, "landing", "dash") for event in trace.events if event.kind == "land"]
    for row, (at_ms, word, kind) in enumerate(mark for mark in marks if mark[0] is not None):
        assert at_ms is not None
        parts.append(f'<path class="{kind}" d="M{x(at_ms):.1f} {_TOP - 6}V{base}"/>')
        anchor = "end" if x(at_ms) > _WIDTH / 2 else "start"
        parts.append(
            f'<text class="soft" x="{x(at_ms):.1f}" y="{base + 16 + 15 * row}" '
            f'text-anchor="{anchor}">{word} {at_ms:.4g} ms</text>'
        )
    title = f"{trace.answer_tokens} tokens, {trace.ending or '?'}, {trace.elapsed_ms:.4g} ms"
    parts.append(f'<text x="{_LEFT}" y="18">{escape(title)}</text>')
    height = base + 16 + 15 * len(marks)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="Time line of one answer">{"".join(parts)}</svg>\n'
    )


def _spans(trace: Trace) -> list[tuple[str, float, float, object, str]]:
    """(kind, begin, end, tokens, gear) of every stretch of work; a stretch ends at its event and is
    as long as the work in it took."""
    found = []
    for event in trace.events:
        if event.kind in ("prefill", "decode"):
            ms = event.detail.get("ms")
            took = float(ms) if isinstance(ms, int | float) else 0.0
            gear = str(event.detail.get("gear", "?"))
            tokens = event.detail.get("tokens", "?")
            found.append((event.kind, event.at_ms - took, event.at_ms, tokens, gear))
    return found


def _gear_order(name: str) -> tuple[float, str]:
    """Uniform gears by their width, mixed ones by their number between 4 and 8."""
    if name.isdecimal():
        return float(name), name
    digits = name.removeprefix("g")
    return (4.0 + min(int(digits), 99) / 100.0 if digits.isdecimal() else 0.0), name
