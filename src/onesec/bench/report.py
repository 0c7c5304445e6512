"""Report: the deadline benchmark's record as deadlines.json and as one HTML page with plots.

It must not measure anything: every number comes from the record.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from onesec.page import line_chart, page, pairs, table

from .deadlines import ALL
from .scores import OURS, TRYING

Record = Mapping[str, Any]
FIVE_HEADS = (
    *("system", "n", "accepted", "hit rate", "overshoot p99", "complete"),
    *("score", "budget use"),
)


def write_report(folder: Path, record: Record) -> None:
    """Write deadlines.json and deadlines.html. Raises OSError where the disk refuses."""
    write_pair(folder, "deadlines", record, document(record))


def write_pair(folder: Path, name: str, record: Record, html: str) -> None:
    """Write a record and its page under one name; what is not a number is null. Raises OSError
    where the disk refuses."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = json.loads(json.dumps(record), parse_constant=lambda _: None)
    text = json.dumps(plain, indent=1, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    (folder / f"{name}.html").write_text(html, encoding="utf-8")


def document(record: Record) -> str:
    """The whole page."""
    parts = [
        f"<h1>Deadlines kept by {escape(str(record['model']))} 时延预算</h1>",
        "<p>Five figures, always together: how many accepted answers came within their budget, how "
        "late the others were, how many came to an end, what replies were worth (refused, late or "
        "cut: 0), and how much of the budget was used.</p>",
    ]
    if "virtual" in record:
        parts += _virtual(record["virtual"])
    for part in record.get("real", ()):
        parts += _real(part)
    parts.append(f"<h2>Machine 机器</h2><dl>{pairs(record['machine'])}</dl>")
    parts.append(f"<p class='soft'>OneSec {escape(str(record['onesec']))}</p>")
    return page(f"{record['model']}: deadlines", "\n".join(parts))


def _virtual(part: Record) -> Iterable[str]:
    counts = ", ".join(f"{count} {name}" for name, count in part["questions"].items())
    yield "<h2>Score over time, in virtual time 得分与时间</h2>"
    yield (
        f"<p>The model's own answers to {counts}; steps and prompts take what they took on a "
        f"recorded machine with a {escape(str(part['shape']))} model. Budgets are shares of what "
        "each answer takes in the best gear. The planner and the controller are the real ones.</p>"
    )
    for group in part["grid"][0]["groups"]:
        yield f"<h3>{escape(group)}</h3><figure>{_score_chart(part['grid'], group)}</figure>"
    for point in part["grid"]:
        found = point["groups"][ALL]
        yield f"<h3>At {point['share']:g} of the natural time</h3>"
        yield table(FIVE_HEADS, five_rows(found["systems"]), chosen=OURS)
        gains = ", ".join(
            f"{name}: {g['gain']:+.3f} ± {g['half_width']:.3f}"
            for name, g in found["gains"].items()
        )
        best = escape(found["best_static"])
        yield f"<p class='soft'>Score less that of the best static ({best}): {escape(gains)}</p>"
    yield "<h2>Many users, in virtual time 负载</h2>"
    for name, systems in part["load"].items():
        yield f"<h3>{escape(name)} of the capacity ({part['capacity_per_s']:.2f}/s)</h3>"
        yield table(FIVE_HEADS, five_rows(systems), chosen=OURS)
    yield "<h2>Disturbed machines, in virtual time 干扰</h2>"
    rows = [row for name, s in part["disturbed"].items() for row in five_rows({name: s[OURS]})]
    yield table(FIVE_HEADS, rows)
    yield "<h2>Refusals 拒绝</h2>"
    heads = ("share", "asked", "refused", "would have ended in time")
    cells = [
        (f"{r['share']:g}", str(r["asked"]), str(r["refused"]), str(r["wrongly"]))
        for r in part["refusals"]
    ]
    yield table(heads, cells)


def _real(part: Record) -> Iterable[str]:
    yield f"<h2>Real time: {escape(str(part['subject']))} 实时</h2>"
    yield table(REAL_HEADS, real_rows(part["rows"]))


REAL_HEADS = (
    *("budget", "n", "accepted", "hit rate", "overshoot p99", "complete", "use (needed)"),
    *("ms a token", "its error: median, p99", "refusal p99", "offers kept", "predicted holds"),
)


def real_rows(rows: Sequence[Record]) -> list[tuple[str, ...]]:
    """The real-time figures as texts, a row a budget."""
    return [
        (
            f"{row['budget_ms']:g} ms",
            str(row["count"]),
            str(row["accepted"]),
            percent(row["hit_rate"]),
            f"{row['overshoot_p99_ms']:.2f} ms",
            percent(row["complete_rate"]),
            f"{percent(row['use'])} ({percent(row['use_needed'])})",
            number(row["step_ms"], ".2f"),
            f"{percent(row['step_error_median'])}, {percent(row['step_error_p99'])}",
            number(row["refusal_p99_ms"], ".2f", " ms"),
            f"{row['offers_kept']} of {row['offers']}",
            percent(row["predicted_holds"]),
        )
        for row in rows
    ]


def five_rows(systems: Mapping[str, Record]) -> list[tuple[str, ...]]:
    """The five figures as texts, a row a system."""
    return [
        (
            name,
            str(five["count"]),
            str(five["accepted"]),
            percent(five["hit_rate"]),
            f"{five['overshoot_p99_ms']:.0f} ms",
            percent(five["complete_rate"]),
            f"{five['score']:.3f} ± {number(five['score_half_width'], '.3f')}",
            percent(five["use"]),
        )
        for name, five in systems.items()
    ]


def percent(value: float | None) -> str:
    """A share as a percentage; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f} %"


def number(value: float | None, form: str, unit: str = "") -> str:
    """A number in a form; a dash where there is none."""
    return "–" if value is None else f"{value:{form}}{unit}"


def _score_chart(grid: Sequence[Record], group: str) -> str:
    """The score of every system over the share of the natural time; of the static gears the one
    that is best at each point."""
    lines: dict[str, list[tuple[float, float | None]]] = {
        OURS: [],
        "best static gear": [],
        TRYING: [],
    }
    for point in grid:
        found, share = point["groups"][group], point["share"]
        systems = found["systems"]
        lines["best static gear"].append((share, systems[found["best_static"]]["score"]))
        for name, five in systems.items():
            if not name.startswith("gear "):
                lines.setdefault(name, []).append((share, five["score"]))
    return line_chart(f"Score over time: {group}", lines, y_max=1.0)
