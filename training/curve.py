"""The loss curve of a training, as a table and as a picture. It must not know what was trained."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

Point = tuple[int, int, float, float]  # step, tokens, seconds, mean loss since the last point


def save_curve(folder: Path, curve: Sequence[Point]) -> None:
    """Write loss.csv and loss.svg into `folder`."""
    with (folder / "loss.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "tokens", "seconds", "loss"])
        writer.writerows([s, t, round(w, 1), round(v, 4)] for s, t, w, v in curve)
    if len(curve) < 2:
        return
    last = curve[-1][0]
    top = max(v for *_, v in curve)
    low = math.log(max(1e-3, min(v for *_, v in curve)))
    span = max(1e-6, math.log(top) - low)
    points = " ".join(
        f"{50 + 540 * s / last:.1f},{280 - 250 * (math.log(max(v, 1e-3)) - low) / span:.1f}"
        for s, _, _, v in curve
    )
    (folder / "loss.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 620 320" font-family="sans-serif" '
        'font-size="12"><rect width="620" height="320" fill="white"/>'
        '<path d="M50 20V280H600" fill="none" stroke="#888"/>'
        f'<polyline points="{points}" fill="none" stroke="#1668b8" stroke-width="1.5"/>'
        f'<text x="50" y="300">0</text><text x="540" y="300">{last} steps</text>'
        f'<text x="8" y="34">{top:.2f}</text><text x="8" y="284">{math.exp(low):.3f}</text>'
        '<text x="60" y="18">loss (log scale)</text></svg>\n'
    )
