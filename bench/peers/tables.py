"""Medians and Markdown tables of the rows that compare.py collects."""

import statistics
from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]
# key, heading, digits, whether more is better
COLUMNS = (
    ("decode", "decode tok/s", 1, True),
    ("prefill512", "prefill tok/s", 0, True),
    ("ttft512_s", "TTFT-512 s", 2, False),
    ("cold_s", "cold start s", 2, False),
    ("seqs8", "8 seq tok/s", 0, True),
    ("rss_mb", "RSS MB", 0, False),
    ("mb_token", "MB/token", 0, False),
)


def values(rows: Iterable[Row], shape: str, engine: str, key: str) -> dict[int, float]:
    """Round -> value."""
    return {
        row["round"]: row[key]
        for row in rows
        if row["shape"] == shape and row["engine"] == engine and key in row
    }


def spread(numbers: Iterable[float], digits: int) -> str:
    """Median and, of differing values, the extremes."""
    found = list(numbers)
    if not found:
        return "-"
    middle, low, high = (f"{f(found):.{digits}f}" for f in (statistics.median, min, max))
    return middle if low == high else f"{middle} [{low}–{high}]"


def ratios(rows: list[Row], shape: str, ours: str, peer: str, key: str, more: bool) -> list[float]:
    """Ours over the peer's of the same round, turned so that above 1 is better for us."""
    a, b = values(rows, shape, ours, key), values(rows, shape, peer, key)
    return [a[r] / b[r] if more else b[r] / a[r] for r in sorted(a.keys() & b.keys())]


def _markdown(head: list[str], body: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def numbers_table(rows: list[Row], shape: str, engines: list[str]) -> str:
    """Median [min–max] of every number, and the GB/s of weights that decode reads."""
    body = []
    for engine in engines:
        cells = [
            spread(values(rows, shape, engine, key).values(), digits)
            for key, _, digits, _ in COLUMNS
        ]
        decode = values(rows, shape, engine, "decode")
        weights = values(rows, shape, engine, "mb_token")
        speed = [decode[r] * weights[r] / 1e3 for r in decode.keys() & weights.keys()]
        body.append([engine, *cells, spread(speed, 1)])
    return _markdown(["engine", *(c[1] for c in COLUMNS), "GB/s"], body)


def ratio_table(rows: list[Row], shape: str, engines: list[str]) -> str:
    """OneSec over each peer, round by round; empty without OneSec."""
    ours = [e for e in engines if e.startswith("onesec/")]
    peers = [e for e in engines if not e.startswith("onesec/")]
    body = [
        [f"{mine} : {peer}"]
        + [spread(ratios(rows, shape, mine, peer, key, more), 2) for key, _, _, more in COLUMNS]
        for mine in ours
        for peer in peers
        if values(rows, shape, mine, "decode") or values(rows, shape, mine, "prefill512")
    ]
    if not body:
        return ""
    return _markdown(["above 1 = OneSec better", *(c[1] for c in COLUMNS)], body)


def disturbance(rows: list[Row]) -> str:
    """One line on how much of the machine others used."""
    others = [100 * row["others"] for row in rows]
    stolen = [100 * row["stolen"] for row in rows]
    return (
        f"CPU time of other processes during the runs: {spread(others, 0)} % of the machine; "
        f"stolen by other guests: {spread(stolen, 0)} %."
    )


def report(rows: list[Row], shapes: list[str], engines: list[str]) -> str:
    """The whole report in Markdown."""
    good = [row for row in rows if "error" not in row]
    parts = []
    for shape in shapes:
        parts += [f"**{shape}**", numbers_table(good, shape, engines)]
        parts += [t for t in [ratio_table(good, shape, engines)] if t]
    if good:
        parts.append(disturbance(good))
    failed = {f"FAILED {r['shape']} {r['engine']}: {r['error']}": 0 for r in rows if "error" in r}
    parts += list(failed)  # each once
    return "\n\n".join(parts)
