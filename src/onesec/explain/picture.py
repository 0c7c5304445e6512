"""Picture: a trace as an SVG time line: what ran when, in which gear, beside budget, expectations
and how sure each token was.

It must not know files, and needs no script or network.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from onesec.core.trace import Trace

from .timeline import Stretch, bands, stretches, token_times
from .words import LANGUAGES, SURE, UNSURE, milliseconds, used

_WIDTH, _LEFT, _RIGHT, _TOP, _LANE, _ROW = 760, 96, 20, 34, 26, 9
_MOST_BANDS = 12  # drawn: the plan's, and the last ones
_MOST_CELLS = 332  # of the strip of confidences, two units wide; the least sure token of each shows
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1b1f24}.soft{fill:#667}"
    ".prefill{fill:#8fb8de}.decode{fill:#0b62c4}.wait{fill:#e4e7eb}.line{stroke:#c4480b}"
    ".dash{stroke:#667;stroke-dasharray:4 3}.band{fill:#c8a45a}.at{stroke:#667}"
    ".sure{fill:#9fc7a4}.fair{fill:#e3b341}.unsure{fill:#c4480b}"
    "@media(prefers-color-scheme:dark){text{fill:#e8eaed}.soft{fill:#9aa3ad}.wait{fill:#343a42}"
    ".decode{fill:#6cb0ff}.prefill{fill:#35597c}.sure{fill:#3f6b46}.band{fill:#8a6d2f}}"
)
_WORDS = {
    "gear": ("gear {0}", "档位 {0}"),
    "expected": ("expected", "预期"),
    "confidence": ("confidence", "置信度"),
    "budget": ("budget {0} ms", "预算 {0} 毫秒"),
    "predicted": ("predicted {0} ms", "预计 {0} 毫秒"),
    "first": ("first token {0} ms", "首词元 {0} 毫秒"),
    "landing": ("landing {0} ms", "开始收尾 {0} 毫秒"),
    "title": ("{0} tokens, {1}, {2} ms", "{0} 个词元，{1}，{2} 毫秒"),
    "stretch": ("{0}: {1} tokens, {2} to {3} ms", "{0}：{1} 个词元，{2} 至 {3} 毫秒"),
    "band": ("{0} at {1} ms: likely {2}, by {3} ms", "{1} 毫秒 {0}：可能 {2}，至迟 {3} 毫秒"),
    "cell": ("token {0}: {1:.2f}", "第 {0} 个词元：{1:.2f}"),
    "label": ("Time line of one answer", "一次回答的时间线"),
}


def picture(trace: Trace, language: str = "en") -> str:
    """The SVG document: a lane a gear, the cheapest at the bottom; below them what was expected
    when, and how sure each token was; lines for budget, prediction, landing and the first token.

    >>> picture(Trace("r1", elapsed_ms=5.0)).startswith("<svg")
    True
    """

    def say(key: str, *values: object) -> str:
        return escape(_WORDS[key][LANGUAGES.index(language)].format(*values))

    end_ms = max(trace.elapsed_ms, trace.budget_ms or 0.0, trace.predicted_ms or 0.0, 1e-6)

    def x(ms: float) -> float:
        return _LEFT + min(max(ms / end_ms, 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT)

    title = say("title", trace.answer_tokens, trace.ending or "?", milliseconds(trace.elapsed_ms))
    parts = [f"<style>{_STYLE}</style>", f'<text x="{_LEFT}" y="18">{title}</text>']
    bottom: float = _TOP
    for draw in (_gears, _expected, _confidence):
        drawn, bottom = draw(trace, x, bottom, say)
        parts += drawn
    drawn, bottom = _marks(trace, x, bottom, say)
    parts += drawn
    line = used(trace, language)
    if line is not None:
        bottom += 15
        parts.append(f'<text class="soft" x="4" y="{bottom:.0f}">{escape(line)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + 8:.0f}" '
        f'role="img" aria-label="{say("label")}">{"".join(parts)}</svg>\n'
    )


X = Callable[[float], float]
Say = Callable[..., str]
Drawn = tuple[list[str], float]  # elements, and where the next lane begins


def _rect(kind: str, x0: float, x1: float, y: float, height: int, title: str = "") -> str:
    tip = f"<title>{title}</title>" if title else ""
    return (
        f'<rect class="{kind}" x="{x0:.1f}" y="{y:.0f}" width="{max(1.0, x1 - x0):.1f}" '
        f'height="{height}">{tip}</rect>'
    )


def _gears(trace: Trace, x: X, y: float, say: Say) -> Drawn:
    """A lane for each gear that worked."""
    found = stretches(trace)
    lanes = _lanes(trace, found)
    parts = []
    for lane, gear in enumerate(lanes):
        top = y + lane * _LANE
        parts.append(f'<text x="4" y="{top + 15:.0f}">{say("gear", gear)}</text>')
        parts.append(_rect("wait", x(0.0), x(trace.elapsed_ms), top, 20))
    for s in found:
        times = (milliseconds(s.begin_ms), milliseconds(s.end_ms))
        tip = say("stretch", s.kind, s.tokens, *times)
        top = y + lanes.index(s.gear) * _LANE
        parts.append(_rect(s.kind, x(s.begin_ms), x(s.end_ms), top, 20, tip))
    return parts, y + _LANE * len(lanes)


def _lanes(trace: Trace, found: list[Stretch]) -> list[str]:
    """The gears that worked, best first: in the plan's order, where it tells one."""
    order: list[str] = []
    for event in trace.events:
        gears = event.detail.get("gears")
        if event.kind == "plan" and isinstance(gears, list):
            order += [str(gear) for gear in gears]
    names = list(dict.fromkeys(s.gear for s in found)) or ["-"]
    return sorted(names, key=lambda name: order.index(name) if name in order else -1, reverse=True)


def _expected(trace: Trace, x: X, y: float, say: Say) -> Drawn:
    """A row for each expectation: from the likely instant to the latest one, and when it arose."""
    found = bands(trace)
    if len(found) > _MOST_BANDS:
        found = found[:1] + found[1 - _MOST_BANDS :]
    if not found:
        return [], y
    parts = [f'<text x="4" y="{y + 11:.0f}">{say("expected")}</text>']
    for band in found:
        times = map(milliseconds, (band.at_ms, band.likely_ms, band.by_ms))
        parts.append(
            _rect(
                "band", x(band.likely_ms), x(band.by_ms), y + 2, 5, say("band", band.kind, *times)
            )
        )
        at = x(band.at_ms)
        parts.append(f'<path class="at" d="M{at:.1f} {y:.0f}v{_ROW - 1}"/>')
        y += _ROW
    return parts, y + 6


def _confidence(trace: Trace, x: X, y: float, say: Say) -> Drawn:
    """A strip of the tokens, each as sure as it was; where they lie close, the least sure shows."""
    cells: dict[int, tuple[int, float]] = {}
    for i, (at_ms, sure) in enumerate(zip(token_times(trace), trace.confidence, strict=False)):
        cell = int((x(at_ms) - _LEFT) / 2)
        if cell not in cells or sure < cells[cell][1]:
            cells[cell] = (i + 1, sure)
    if not cells:
        return [], y
    parts = [f'<text x="4" y="{y + 11:.0f}">{say("confidence")}</text>']
    for cell, (token, sure) in list(cells.items())[:_MOST_CELLS]:
        kind = "sure" if sure >= SURE else "fair" if sure >= UNSURE else "unsure"
        left = _LEFT + 2 * cell
        parts.append(_rect(kind, left, left + 2, y, 14, say("cell", token, sure)))
    return parts, y + 20


def _marks(trace: Trace, x: X, base: float, say: Say) -> Drawn:
    """Lines across all lanes, each with its word on a row below them."""
    marks: list[tuple[float | None, str, str]] = [
        (trace.budget_ms, "budget", "line"),
        (trace.predicted_ms, "predicted", "dash"),
        (trace.ttft_ms, "first", "dash"),
    ]
    marks += [(event.at_ms, "landing", "dash") for event in trace.events if event.kind == "land"][
        :1
    ]
    parts, y = [], base
    for at_ms, word, kind in marks:
        if at_ms is None:
            continue
        y += 15
        at = x(at_ms)
        parts.append(f'<path class="{kind}" d="M{at:.1f} {_TOP - 6}V{base:.0f}"/>')
        anchor = "end" if at > _WIDTH / 2 else "start"
        parts.append(
            f'<text class="soft" x="{at:.1f}" y="{y:.0f}" text-anchor="{anchor}">'
            f"{say(word, milliseconds(at_ms))}</text>"
        )
    return parts, y + 2
