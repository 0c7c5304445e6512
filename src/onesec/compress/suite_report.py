"""Suite report: what a suite's results come to, as plain values: by skill, language and wording.

It must not know terminals or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from .examine import Result
from .scores import Score, average, paired, share

AUTO = "auto"  # the planner's choice among the gears
Record = dict[str, Any]
Cell = tuple[str, str | None, str | None, str | None]  # metric, skill, language, wording


def item_record(gear: str, result: Result) -> Record:
    """One question, its reply and what that is worth."""
    told = ("id", "skill", "kind", "language", "wording", "metric", "answer")
    record: Record = {name: result.item[name] for name in told}  # type: ignore[literal-required]
    values = {name: value for name, value in asdict(result).items() if name != "item"}
    return {"gear": gear, **record, **values}


def gear_record(gear: str, results: Sequence[Result], deadline_ms: float | None) -> Record:
    """Scores of one gear by skill, language and wording, None standing for all of them; and, with
    a deadline, how it was kept."""
    record: Record = {"gear": gear, "scores": []}
    for (metric, skill, language, wording), cell in _cells(results).items():
        record["scores"].append(
            {"skill": skill, "language": language, "wording": wording, "metric": metric}
            | asdict(_score(metric, [result.value for result in cell]))
        )
    if deadline_ms is not None:
        skills = dict.fromkeys(result.item["skill"] for result in results)
        record["timing"] = [
            {"skill": skill} | timing([r for r in results if skill in (None, r.item["skill"])])
            for skill in (*skills, None)
        ]
    return record


def timing(results: Sequence[Result]) -> Record:
    """How a deadline was kept: shares of all questions, and milliseconds of those answered."""
    took = [result.elapsed_ms for result in results if result.elapsed_ms is not None]
    count = len(results)
    return {
        "count": count,
        "hit_rate": sum(result.met is True for result in results) / count,
        "complete_rate": sum(result.complete for result in results) / count,
        "refused_rate": sum(bool(result.refusal) for result in results) / count,
        "ms_p50": float(np.quantile(took, 0.5)) if took else None,
        "ms_p99": float(np.quantile(took, 0.99)) if took else None,
    }


def differences(found: Mapping[str, Sequence[Result]]) -> list[Record]:
    """Each other gear against the best one (the last that is no choice of the planner), by skill
    and over all, paired by question."""
    fixed = [gear for gear in found if gear != AUTO]
    if not fixed:
        return []
    best = _cells(found[fixed[-1]])
    return [
        {"gear": gear, "best": fixed[-1], "skill": skill, "language": language, "metric": metric}
        | asdict(paired([r.value for r in base], [r.value for r in other]))
        for gear in found
        if gear != fixed[-1]
        for ((metric, skill, language, wording), base), other in zip(
            best.items(), _cells(found[gear]).values(), strict=True
        )
        if wording is None
    ]


def _cells(results: Sequence[Result]) -> dict[Cell, list[Result]]:
    """Results by metric, skill, language and wording, None standing for all of them. Results of
    different metrics are never put together."""
    cells: dict[Cell, list[Result]] = {}
    for result in results:
        item = result.item
        for skill in (item["skill"], None):
            for language in (item["language"], None):
                for wording in (item["wording"], None):
                    key = (item["metric"], skill, language, wording)
                    cells.setdefault(key, []).append(result)
    return cells


def _score(metric: str, values: Sequence[float]) -> Score:
    return share(values) if metric == "right" else average(values)
