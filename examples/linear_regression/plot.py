"""Plot: losses over steps as a small SVG with a logarithmic scale. It must not know models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 640, 260, 60, 24, 30
_COLOURS = ("#0b62c4", "#c4480b", "#2a7d3f")
_POINTS = 160  # of a line: more cannot be told apart


def loss_plot(curves: Mapping[str, Sequence[float]]) -> str:
    """The SVG document: a line a curve, each as a share of its first value (which must exceed 0)
    and over the share of its steps.

    >>> loss_plot({"a": [4.0, 1.0]}).startswith("<svg")
    True
    """
    shares = {name: [max(v / values[0], 1e-16) for v in values] for name, values in curves.items()}
    decades = max(1, math.ceil(-math.log10(min(min(values) for values in shares.values()))))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        'aria-label="loss over steps">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>'
        '<g font-family="system-ui,sans-serif" font-size="12" fill="#445">',
    ]
    for decade in range(0, decades + 1, max(1, decades // 5)):
        y = _y(10.0**-decade, decades)
        label = "1" if decade == 0 else f"1e-{decade}"
        parts.append(
            f'<text x="8" y="{y + 4:.1f}">{label}</text>'
            f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - 10}" stroke="#dde" fill="none"/>'
        )
    for index, (name, values) in enumerate(shares.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        last = len(values) - 1
        stops = sorted({round(last * i / _POINTS) for i in range(_POINTS + 1)})
        points = " ".join(
            f"{_LEFT + (_WIDTH - 10 - _LEFT) * i / max(last, 1):.1f},{_y(values[i], decades):.1f}"
            for i in stops
        )
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<text x="{_LEFT + 200 * index}" y="16" fill="{colour}">'
            f"{escape(name)}: {last} steps</text>"
        )
    parts.append(
        f'<text x="{_LEFT}" y="{_HEIGHT - 8}">loss as a share of the first, over the steps</text>'
        "</g></svg>\n"
    )
    return "\n".join(parts)


def _y(share: float, decades: int) -> float:
    return _TOP - math.log10(share) / decades * (_HEIGHT - _TOP - _BOTTOM)
