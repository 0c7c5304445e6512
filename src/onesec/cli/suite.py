"""The suite of `onesec evaluate`: asks a model its questions in each gear, and tells the scores.

It must not know how replies are judged or computed. A report is plain values; `draw` shows it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import progress, table

if TYPE_CHECKING:
    from onesec.apps.judge import Item
    from onesec.compress.examine import Result
    from onesec.loading import LoadedModel

CONTEXT_TOKENS = 2048  # of a question and its reply, unless --context says more
Record = dict[str, Any]
Write = Callable[[Record], None]


def evaluate_suite(
    model: str,
    suite: str,
    *,
    gears: Sequence[str],
    all_gears: bool,
    deadline: str | None,
    limit: int | None,
    skills: Sequence[str],
    items_file: Path | None,
    engine: Record,
) -> Record:
    """The whole run as plain values. Raises InvalidRequest (the suite, its metrics, a gear, no chat
    template), ModelError, OutOfMemory."""
    from onesec.apps.metrics import check_chrf
    from onesec.compress.suite import chosen, find_suite, read_suite
    from onesec.compress.suite_report import differences, gear_record
    from onesec.core.deadline import parse_duration_ms
    from onesec.core.errors import InvalidRequest

    deadline_ms = None if deadline is None else parse_duration_ms(deadline)
    items = chosen(read_suite(find_suite(suite)), limit=limit, skills=skills)
    if any(item["metric"] == "chrf" for item in items):
        try:
            check_chrf()
        except InvalidRequest as error:
            chrf = {item["skill"] for item in items if item["metric"] == "chrf"}
            raise InvalidRequest(
                f"{', '.join(sorted(chrf))} is scored by chrF, and {error.message}",
                hint=f"{error.hint}, or choose other skills with --skill.",
            ) from None
    with ExitStack() as stack:
        # First of all: a file that cannot be written is told before anything is waited for.
        write = stack.enter_context(_writer(items_file))
        loaded = stack.enter_context(_loaded(model, gears, all_gears, deadline_ms, engine))
        found = {}
        for gear in _runs(loaded, gears, all_gears, deadline_ms):
            with progress(f"gear {gear}") as advance:
                found[gear] = _run(loaded, items, gear, deadline_ms, advance, write)
    return {
        "model": model,
        "suite": suite,
        "count": len(items),
        "deadline_ms": deadline_ms,
        "gears": [gear_record(gear, results, deadline_ms) for gear, results in found.items()],
        "differences": differences(found),
    }


@contextmanager
def _writer(file: Path | None) -> Iterator[Write]:
    """Writes a record as a line of the file, if there is one."""
    if file is None:
        yield lambda record: None
        return
    with file.open("w", encoding="utf-8") as lines:
        yield lambda record: print(json.dumps(record, ensure_ascii=False), file=lines, flush=True)


def suite_context(path: Path) -> int:
    """Tokens of a question and its reply. The cache is for several questions at once; none is
    nearly as long as most contexts."""
    from onesec.loading import open_source

    with closing(open_source(path)) as source:
        return min(source.config.context_length, CONTEXT_TOKENS)


def _loaded(
    model: str, gears: Sequence[str], all_gears: bool, deadline_ms: float | None, engine: Record
) -> LoadedModel:
    from onesec.compress.examine import AT_ONCE
    from onesec.core.errors import InvalidRequest
    from onesec.loading import find_model, load_model
    from onesec.model.artifact import is_artifact

    path = find_model(model)
    if engine["context"] is None:
        engine = engine | {"context": suite_context(path)}
    with progress(f"loading {model}") as advance:
        loaded = load_model(
            model,
            sequences=AT_ONCE if deadline_ms is None else 1,
            reference="16" in gears or (all_gears and not is_artifact(path)),
            progress=advance,
            **engine,
        )
    if loaded.template is None:
        loaded.close()
        raise InvalidRequest(
            f"{model} has no chat template; a suite asks in conversations.",
            hint="Choose a chat model, or measure perplexity with --text.",
        )
    return loaded


def _runs(
    loaded: LoadedModel, gears: Sequence[str], all_gears: bool, deadline_ms: float | None
) -> list[str]:
    """Names of the gears to ask in, from the cheapest; last the planner's choice, where it has a
    deadline to choose for."""
    from onesec.compress.suite_report import AUTO

    from .measure import named_gears

    names = [gear.name for gear in loaded.backend.gears]
    if all_gears:
        return [*names, AUTO] if deadline_ms is not None else names
    if not gears:
        return [names[-1] if deadline_ms is None else AUTO]
    named_gears(loaded.backend.gears, [gear for gear in gears if gear != AUTO])
    return [name for name in (*names, AUTO) if name in gears]


def _run(
    loaded: LoadedModel,
    items: Sequence[Item],
    gear: str,
    deadline_ms: float | None,
    advance: Callable[[float], None] | None,
    write: Write,
) -> list[Result]:
    """Every question in one gear, on an engine that has seen none of them before."""
    from onesec.compress.examine import examine
    from onesec.compress.suite_report import AUTO, item_record
    from onesec.llm import LLM

    llm = LLM.over(loaded)
    results = []
    for result in examine(
        llm,
        items,
        gear=None if gear == AUTO else gear,
        deadline_ms=deadline_ms,
        progress=advance,
    ):
        results.append(result)
        write(item_record(gear, result))
    return results


def draw(report: Record) -> None:
    """The report as tables."""
    gears = report["gears"]
    at = "" if report["deadline_ms"] is None else f" @ {report['deadline_ms']:g} ms"
    title = f"{report['model']}, suite {report['suite']}: % right{at} (chrF x 100) [95 %]"
    if len(gears) == 1:
        _draw_scores(f"{title}, gear {gears[0]['gear']}", gears[0]["scores"])
    else:
        _draw_gears(title, gears)
        _draw_differences(report["differences"])
    if report["deadline_ms"] is not None:
        _draw_timing(f"Within {report['deadline_ms']:g} ms", gears)


def _draw_scores(title: str, scores: Sequence[Record]) -> None:
    """One gear: a row for each skill and language, columns for the wordings."""
    wordings = list(dict.fromkeys(s["wording"] for s in scores if s["wording"] is not None))
    columns = [*wordings, None] if len(wordings) > 1 else [None]
    rows = []
    for row in _rows(scores):
        cells = {s["wording"]: s for s in scores if _row(s) == row}
        count = str(cells[None]["count"])
        rows.append((*_heads(row), count, *(_cell(cells.get(name)) for name in columns)))
    heads = [f"{name} wording" if name else "all" for name in columns]
    table(title, ("skill", "language", "n", *heads), rows)


def _draw_gears(title: str, gears: Sequence[Record]) -> None:
    """Several gears: a row for each skill and language, a column a gear."""
    whole = [{_row(s): s for s in g["scores"] if s["wording"] is None} for g in gears]
    rows = [
        (*_heads(row), str(whole[0][row]["count"]), *(_cell(scores[row]) for scores in whole))
        for row in _rows(gears[0]["scores"])
    ]
    heads = [f"gear {gear['gear']}" for gear in gears]
    table(title, ("skill", "language", "n", *heads), rows)


def _draw_differences(found: Sequence[Record]) -> None:
    rows = [
        (
            f"{d['gear']} - {d['best']}",
            _heads(row)[0],
            f"{100 * d['value']:+.2f}±{100 * d['se']:.2f}",
            *_turned(d),
        )
        for gear in dict.fromkeys(d["gear"] for d in found)
        for row in _rows(found)
        for d in found
        if row[2] is None and (d["gear"], _row(d)) == (gear, row)
    ]
    heads = ("gears", "skill", "points ± se", "lost", "gained", "flips %", "exact p")
    title = "Beside the best gear, by question: right→wrong (lost), wrong→right (gained)"
    table(title, heads, rows)


def _turned(difference: Record) -> tuple[str, ...]:
    if difference["lost"] is None:
        return "-", "-", "-", "-"
    lost, gained, rate, p = (difference[name] for name in ("lost", "gained", "flip_rate", "p"))
    return str(lost), str(gained), f"{100 * rate:.1f}", f"{p:.2g}"


def _draw_timing(title: str, gears: Sequence[Record]) -> None:
    rows = [
        (
            gear["gear"],
            t["skill"] or "all",
            str(t["count"]),
            *(f"{100 * t[name]:.1f}" for name in ("hit_rate", "complete_rate", "refused_rate")),
            *("-" if t[name] is None else f"{t[name]:.1f}" for name in ("ms_p50", "ms_p99")),
        )
        for gear in gears
        for t in gear["timing"]
    ]
    heads = ("gear", "skill", "n", "hit %", "complete %", "refused %", "ms p50", "ms p99")
    table(title, heads, rows)


Row = tuple[str, str | None, str | None]  # metric, skill, language


def _row(record: Record) -> Row:
    return record["metric"], record["skill"], record["language"]


def _rows(scores: Sequence[Record]) -> list[Row]:
    """Rows of a table: skills and languages in the suite's order, all of them (None) last."""
    rows = list(dict.fromkeys(_row(score) for score in scores))
    skills = list(dict.fromkeys(skill for _, skill, _ in rows if skill is not None))
    return sorted(
        # One skill's metric is a line of its own; the sum over skills is of right answers only.
        (row for row in rows if row[1] is not None or row[0] == "right"),
        key=lambda row: (row[1] is None, skills.index(row[1] or skills[0]), row[2] is None),
    )


def _heads(row: Row) -> tuple[str, str]:
    metric, skill, language = row
    name = "all but chrF" if skill is None else skill
    return (f"{name} (chrF)" if metric == "chrf" else name), language or "all"


def _cell(score: Record | None) -> str:
    if score is None:
        return "-"
    value, low, high = (100 * score[name] for name in ("value", "low", "high"))
    return f"{value:.1f} [{low:.0f}-{high:.0f}]"
