"""The picture of a reliability: how often tokens were right over how sure a gear was, as SVG.

It must not measure anything: every number comes from the records of `reliability.judge`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_SIDE, _LEFT, _TOP, _GAP = 240, 44, 48, 70
_HALF = 16.0  # radius of a dot that stands for half of all tokens
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1b1f24}.soft{fill:#667}.axis{stroke:#d8dce2;"
    "fill:none}.ideal{stroke:#667;stroke-dasharray:4 3}.before{fill:#c4480b;fill-opacity:.55}"
    ".after{fill:#0b62c4;fill-opacity:.55}@media(prefers-color-scheme:dark){text{fill:#e8eaed}"
    ".soft{fill:#9aa3ad}.axis{stroke:#343a42}.after{fill:#6cb0ff}.before{fill:#ff9d66}}"
)


def reliability_picture(title: str, gears: Mapping[str, Mapping[str, Any]]) -> str:
    """The SVG document: a square a gear, dots before (warm) and after (blue) the curve; on the
    dashed line a gear is right as often as it is sure. A dot's area is its share of the tokens.

    >>> reliability_picture("mini", {}).startswith("<svg")
    True
    """
    parts = [f"<style>{_STYLE}</style>", f'<text x="{_LEFT}" y="18">{escape(title)}</text>']
    for i, (gear, record) in enumerate(gears.items()):
        parts.append(_panel(_LEFT + i * (_SIDE + _GAP), gear, record))
    width = _LEFT + max(1, len(gears)) * (_SIDE + _GAP)
    height = _TOP + _SIDE + 66
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Reliability of token confidence">{"".join(parts)}</svg>\n'
    )


def _panel(left: int, gear: str, record: Mapping[str, Any]) -> str:
    bottom = _TOP + _SIDE
    before, after = record["before"], record["after"]
    return (
        f'<text x="{left}" y="{_TOP - 10}">gear {escape(gear)}</text>'
        f'<path class="axis" d="M{left} {_TOP}h{_SIDE}v{_SIDE}h-{_SIDE}z"/>'
        f'<path class="ideal" d="M{left} {bottom}l{_SIDE} -{_SIDE}"/>'
        + "".join(_dots(kind, left, record[kind]["bins"]) for kind in ("before", "after"))
        + f'<text class="soft" x="{left}" y="{bottom + 16}">sure 置信度 0 … 1</text>'
        f'<text class="soft" x="{left - 8}" y="{bottom}" transform="rotate(-90 {left - 8} '
        f'{bottom})">right 正确率 0 … 1</text>'
        f'<text x="{left}" y="{bottom + 34}">ECE {100 * before["ece"]:.2f} % → '
        f"{100 * after['ece']:.2f} %</text>"
        f'<text class="soft" x="{left}" y="{bottom + 50}">{record["tokens"]} tokens held out, '
        f"{100 * record['right']:.1f} % right</text>"
    )


def _dots(kind: str, left: int, bins: Sequence[Mapping[str, Any]]) -> str:
    total = sum(part["tokens"] for part in bins)
    dots = []
    for part in bins:
        x, y = left + _SIDE * part["sure"], _TOP + _SIDE * (1.0 - part["right"])
        radius = max(2.5, _HALF * (2.0 * part["tokens"] / total) ** 0.5)
        dots.append(
            f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
            f"<title>{kind}: {part['tokens']} tokens, sure {part['sure']:.3f}, right "
            f"{part['right']:.3f}</title></circle>"
        )
    return "".join(dots)
