"""The measured parts of docs/deadline-benchmark.md, docs/serve.md and README.md (en, zh), from
`onesec bench deadlines` and `onesec bench serve`.

    PYTHONPATH=src python -m bench.deadline_tables

writes the tables of RECORDS between the documents' marks; a test holds that they stand there. It
must not measure anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onesec.bench.deadlines import ALL
from onesec.bench.report import number, percent
from onesec.bench.scores import OURS, TRYING

ROOT = Path(__file__).parents[1]
RECORDS = {  # by what their tables are called
    name: ROOT / "bench" / "results" / f"{about}-deadlines-{name}.json"
    for name, about in (
        ("suite", "2026-11-27-zen5"),
        ("stories", "2026-11-26-zen3"),
        ("real", "2026-11-27-zen5"),
    )
}
SERVED = {
    f"{ms} ms": ROOT / "bench" / "results" / f"2026-11-27-zen5-serve-{ms}ms.json"
    for ms in (1000, 200, 80)
}
DOCUMENTS = [
    *(ROOT / "docs" / name / "deadline-benchmark.md" for name in (".", "zh")),
    *(ROOT / name for name in ("README.md", "README.zh-CN.md")),
    *(ROOT / "docs" / name / "serve.md" for name in (".", "zh")),
]
Record = Mapping[str, Any]
GRID = (
    "share",
    "onesec",
    "accepted",
    "hit",
    "complete",
    "best effort",
    "best static",
    "k=1",
    "k=5",
)
ENDED = (
    "share",
    "accepted",
    "hit",
    "complete",
    "best effort",
    "best static",
    "max_tokens",
    "k=1",
    "k=5",
)
HEADLINE = ("T", "OneSec", "gear 4", "gear 8", "max_tokens")
HEADLINE_SHARES = (0.25, 0.5, 0.75, 1.0)
OTHERS = ("max_tokens", "one-shot k=1", "one-shot k=5")
LOAD = ("load", "system", "accepted", "hit", "complete", "score")
SERVE = (
    *("deadline", "load", "offered a second", "accepted", "late of these"),
    *("answered in time a second", "refusals p50, p99"),
)
REAL = (
    *("budget", "accepted", "hit", "overshoot p99", "complete", "refusal p99", "offers kept"),
    *("p95 holds", "a step's error"),
)


def tables(records: Record) -> dict[str, str]:
    """Markdown of each table by the name of its mark."""
    suite, stories = records["suite"]["virtual"], records["stories"]["virtual"]
    return {
        "suite grid": _markdown(GRID, map(_grid_row, suite["grid"])),
        "suite load": _markdown(LOAD, _load_rows(suite["load"])),
        "suite disturbed": _markdown(LOAD, _load_rows(suite["disturbed"])),
        "headline": _markdown(
            HEADLINE, (_headline_row(p) for p in stories["grid"] if p["share"] in HEADLINE_SHARES)
        ),
        "stories grid": _markdown(ENDED, map(_ended_row, stories["grid"])),
        "stories load": _markdown(LOAD, _load_rows(stories["load"])),
        "stories disturbed": _markdown(LOAD, _load_rows(stories["disturbed"])),
        **{
            f"real {number}": _markdown(REAL, map(_real_row, part["rows"]))
            for number, part in enumerate(records["real"]["real"])
        },
        "served": _markdown(
            SERVE,
            (_serve_row(name, row) for name in SERVED for row in records[name]["rows"]),
        ),
    }


def written(document: str, records: Record) -> str:
    """The document with the tables between its marks. Raises ValueError where none is marked, or a
    mark has no table or end."""
    found, names = tables(records), re.findall(r"<!-- ([a-z0-9 ]+) -->\n", document)
    if not names or not {*names} <= {*found}:
        raise ValueError(f"marks {names}, tables {sorted(found)}")
    for name in names:
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        start, stop = document.index(begin) + len(begin), document.index(end)
        document = document[:start] + found[name] + document[stop:]
    return document


def read() -> dict[str, Record]:
    """The records by their names."""
    return {name: json.loads(path.read_text()) for name, path in (RECORDS | SERVED).items()}


def _grid_row(point: Record) -> Sequence[str]:
    return _shares_row(point, _score, lambda ours: (_score(ours),), OTHERS[1:])


def _ended_row(point: Record) -> Sequence[str]:
    """Shares of all questions that came to an end in time, where a reply is worth just that."""
    return _shares_row(point, lambda five: percent(five["score"]), lambda ours: (), OTHERS)


def _shares_row(
    point: Record,
    worth: Callable[[Record], str],
    first: Callable[[Record], Sequence[str]],
    others: Sequence[str],
) -> Sequence[str]:
    """One share of the natural time: ours, then what the best static gear and others are worth."""
    group = point["groups"][ALL]
    systems, best = group["systems"], group["best_static"]
    ours = systems[OURS]
    return (
        f"{point['share']:g}",
        *first(ours),
        percent(ours["accepted"] / ours["count"]),
        percent(ours["hit_rate"]),
        percent(ours["complete_rate"]),
        worth(systems[TRYING]),
        f"{worth(systems[best])} ({best})",
        *(worth(systems[name]) for name in others),
    )


def _headline_row(point: Record) -> Sequence[str]:
    systems = point["groups"][ALL]["systems"]
    names = (OURS, "gear 4", "gear 8", "max_tokens")
    return (f"{point['share']:g}", *(percent(systems[name]["score"]) for name in names))


def _load_rows(cells: Record) -> Iterable[Sequence[str]]:
    for name, systems in cells.items():
        for system, five in systems.items():
            yield (
                name,
                system,
                percent(five["accepted"] / five["count"]),
                percent(five["hit_rate"]),
                percent(five["complete_rate"]),
                _score(five),
            )


def _real_row(row: Record) -> Sequence[str]:
    return (
        f"{row['budget_ms']:g} ms",
        f"{row['accepted']} of {row['count']}",
        percent(row["hit_rate"]),
        f"{row['overshoot_p99_ms']:.2f} ms",
        percent(row["complete_rate"]),
        number(row["refusal_p99_ms"], ".2f", " ms"),
        f"{row['offers_kept']} of {row['offers']}",
        percent(row["predicted_holds"]),
        percent(row["step_error_median"]),
    )


def _serve_row(deadline: str, row: Record) -> Sequence[str]:
    times = (number(row[f"refusal_{name}_ms"], ".0f", " ms") for name in ("p50", "p99"))
    return (
        deadline,
        row["name"],
        f"{row['offered_per_s']:.0f}",
        percent(row["accepted"] / row["offered"]),
        percent(1.0 - row["hit_rate"]),
        f"{row['goodput_per_s']:.0f}",
        ", ".join(times),
    )


def _score(five: Record) -> str:
    return f"{five['score']:.3f}"


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


if __name__ == "__main__":
    records = read()
    for path in DOCUMENTS:
        path.write_text(written(path.read_text(), records))
