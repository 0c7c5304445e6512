"""Page: the look of reports: one HTML page without network or script, tables, and line charts.

It must not know what is reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#667;--paper:#fff;--line:#d8dce2;--mark:#0b62c4;
--warm:#c4480b}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#9aa3ad;--paper:#14171b;--line:#343a42;
--mark:#6cb0ff;--warm:#ff9d66}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:0 auto;
padding:1.2rem;max-width:60rem}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.1rem;margin:2rem 0 .4rem}
p.soft,figcaption,.soft{color:var(--soft);font-size:.9rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.3rem .6rem;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left}tr.chosen td{font-weight:700;color:var(--mark)}
figure{margin:.5rem 0}svg{max-width:100%;height:auto}
svg text{fill:var(--ink);font:12px system-ui,sans-serif}
svg .axis{stroke:var(--line);fill:none}svg .dot{fill:var(--mark)}svg .uniform{fill:var(--warm)}
svg .path{stroke:var(--mark);fill:none;stroke-width:1.5;opacity:.6}
svg .target{stroke:var(--warm);stroke-dasharray:4 3}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}
dt{color:var(--soft)}dd{margin:0}
"""
_COLOURS = ("#0b62c4", "#c4480b", "#2f8f4e", "#8b5fbf", "#b8860b", "#777f8a", "#c2388c")


def page(title: str, body: str) -> str:
    """A whole document; `body` is HTML."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head>
<body>{body}</body></html>
"""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, chosen: str = "") -> str:
    """A table of texts; the row whose first cell is `chosen` stands out."""
    head = "".join(f"<th>{escape(word)}</th>" for word in heads)
    body = []
    for row in rows:
        mark = ' class="chosen"' if chosen and row[0] == chosen else ""
        body.append(f"<tr{mark}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def pairs(values: Mapping[str, object]) -> str:
    """Terms and what they are, for a <dl>; None is left out."""
    return "".join(
        f"<dt>{escape(str(key).replace('_', ' '))}</dt><dd>{escape(str(value))}</dd>"
        for key, value in values.items()
        if value is not None
    )


def svg(width: int, height: int, label: str, parts: Iterable[str]) -> str:
    """A picture that a screen reader calls `label`."""
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def line_chart(
    label: str,
    series: Mapping[str, Sequence[tuple[float, float | None]]],
    *,
    x_form: str = "{:g}",
    y_form: str = "{:.2g}",
    y_max: float | None = None,
) -> str:
    """Lines over a common axis, each named in the legend; points without a value are left out. The
    vertical axis begins at 0."""
    points = {
        name: [(x, y) for x, y in line if y is not None and math.isfinite(y)]
        for name, line in series.items()
    }
    xs = sorted({x for line in points.values() for x, _ in line})
    ys = [y for line in points.values() for _, y in line]
    if not xs:
        return ""
    width, left, base, top = 640, 48, 250, 12
    right = width - 150
    low, high = xs[0], xs[-1]
    most = y_max or max(ys) or 1.0

    def at_x(x: float) -> float:
        return left + (x - low) / max(high - low, 1e-9) * (right - left)

    def at_y(y: float) -> float:
        return base - min(y / most, 1.0) * (base - top)

    parts = [f'<path class="axis" d="M{left} {top}V{base}H{right}"/>']
    for i in range(5):
        y = most * i / 4
        parts.append(f'<path class="axis" d="M{left} {at_y(y):.1f}H{right}"/>')
        parts.append(
            f'<text x="{left - 6}" y="{at_y(y) + 4:.1f}" text-anchor="end">'
            f"{y_form.format(y)}</text>"
        )
    for x in xs:
        parts.append(
            f'<text x="{at_x(x):.1f}" y="{base + 18}" text-anchor="middle">'
            f"{x_form.format(x)}</text>"
        )
    for i, (name, line) in enumerate(points.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        wide = 3 if i == 0 else 1.5
        drawn = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in line)
        parts.append(
            f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="{wide}"/>'
        )
        parts += [
            f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="{wide + 0.5}" fill="{colour}">'
            f"<title>{escape(name)}: {y_form.format(y)} at {x_form.format(x)}</title></circle>"
            for x, y in line
        ]
        y_text = top + 8 + 18 * i
        parts.append(f'<rect x="{right + 12}" y="{y_text}" width="12" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{right + 30}" y="{y_text + 6}">{escape(name)}</text>')
    return svg(width, base + 30, label, parts)
