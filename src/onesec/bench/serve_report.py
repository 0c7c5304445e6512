"""Serve report: a load's record as serve.json, as one HTML page with plots, and as rows of texts.

It must not measure anything: every number comes from the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from onesec.page import line_chart, page, pairs, table

from .report import number, percent, write_pair
from .serve_figures import against_peak

Record = Mapping[str, Any]
GOODS_HEADS = (
    *("load", "offered/s", "goodput/s", "of peak", "accepted", "hit rate", "late p99", "recovery"),
)
TIMES_HEADS = (
    *("load", "ttft p50", "p99", "whole p50", "p99", "refusal p50", "p99", "lag p99", "server"),
    "generator",
)


def goods(record: Record) -> list[tuple[str, ...]]:
    """What users got as texts, a row a load."""
    found = record["rows"]
    return [
        (
            row["name"],
            f"{row['offered_per_s']:.1f}",
            f"{row['goodput_per_s']:.1f}",
            percent(share),
            percent(row["accepted"] / row["offered"] if row["offered"] else None),
            percent(row["hit_rate"]),
            number(row["overshoot_p99_ms"], ".1f", " ms"),
            number(row["recovery_ms"], ".0f", " ms"),
        )
        for row, share in zip(found, against_peak(found), strict=True)
    ]


def times(record: Record) -> list[tuple[str, ...]]:
    """Milliseconds since a request was meant to be sent, and busy cores, as texts, a row a load."""
    names = ("ttft_p50", "ttft_p99", "whole_p50", "whole_p99", "refusal_p50", "refusal_p99")
    return [
        (
            row["name"],
            *(number(row[f"{name}_ms"], ".1f") for name in (*names, "lag_p99")),
            number(row["server_cores"], ".2f"),
            number(row["generator_cores"], ".2f"),
        )
        for row in record["rows"]
    ]


def write_report(folder: Path, record: Record) -> None:
    """Write serve.json and serve.html. Raises OSError where the disk refuses."""
    write_pair(folder, "serve", record, document(record))


def document(record: Record) -> str:
    """The whole page."""
    found = record["rows"]
    wanted = ", ".join(
        f"{name.removesuffix('_ms')} {ms:g} ms" for name, ms in record["slo"].items() if ms
    )
    met = "told of it" if record["tells"] else "left by its clients when it is over"
    parts = [
        f"<h1>Under load: {escape(str(record['model']))} 负载</h1>",
        f"<p>What users want: {escape(wanted)}; the server is {met}. Requests come at their own "
        "times, and everything is timed from the instant at which one was meant to be sent.</p>",
        table(GOODS_HEADS, goods(record)),
        "<h2>Times in ms, and busy cores 时间</h2>",
        table(TIMES_HEADS, times(record)),
        _chart("Goodput and offered, requests a second", found, ("goodput_per_s", "offered_per_s")),
        _chart("First token, ms", found, ("ttft_p50_ms", "ttft_p99_ms")),
        _chart("Whole answer, ms", found, ("whole_p50_ms", "whole_p99_ms")),
        _chart("Refusal, ms", found, ("refusal_p50_ms", "refusal_p99_ms")),
        _gears(found),
        f"<h2>Machine 机器</h2><dl>{pairs(record['machine'])}</dl>",
        f"<p class='soft'>OneSec {escape(str(record['onesec']))}</p>",
    ]
    return page(f"{record['model']}: under load", "\n".join(parts))


def _chart(label: str, found: Sequence[Record], names: Sequence[str]) -> str:
    lines = {
        name.removesuffix("_ms").removesuffix("_per_s").replace("_", " "): [
            (row["rate_per_s"], row[name]) for row in found
        ]
        for name in names
    }
    chart = line_chart(f"{label}, over requests a second", lines, x_form="{:.3g}", y_form="{:.3g}")
    return f"<h2>{escape(label)}</h2><figure>{chart}</figure>" if chart else ""


def _gears(found: Sequence[Record]) -> str:
    """Which gears tokens were made in, and how answers ended, a row a load."""
    names = list(dict.fromkeys(gear for row in found for gear in row["gears"]))
    endings = list(dict.fromkeys(ending for row in found for ending in row["endings"]))
    if not names:
        return ""
    cells = []
    for row in found:
        tokens, answers = sum(row["gears"].values()), sum(row["endings"].values())
        shares = [percent(row["gears"].get(name, 0) / tokens if tokens else None) for name in names]
        ends = [percent(row["endings"].get(e, 0) / answers if answers else None) for e in endings]
        cells.append((row["name"], *shares, *ends))
    heads = ("load", *(f"gear {name}" for name in names), *endings)
    return f"<h2>Gears and endings 档位</h2>{table(heads, cells)}"
