"""Real time: the same questions to a real engine on the machine's own clock, one user.

What is timed is the call, from outside. A refused question is asked again with the budget that was
offered. It must not know terminals or files.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from onesec.core.collector import QuietCollector

from .drive import Asked, Driver, Outcome
from .figures import five, upper
from .questions import Question
from .scores import Progress, silent


@dataclass(slots=True)
class RealCell:
    """Outcomes at one budget, and those of refused questions that were asked again as offered."""

    outcomes: list[Outcome] = field(default_factory=list)
    again: list[Outcome] = field(default_factory=list)


def in_real_time(
    driver: Driver,
    questions: Sequence[Question],
    budgets_ms: Sequence[float],
    progress: Progress = silent,
) -> dict[float, RealCell]:
    """Every question at every budget; budgets take turns, so that a slow spell of the machine meets
    all of them. Garbage is collected between questions, as the command does for its answers."""
    found = {budget_ms: RealCell() for budget_ms in budgets_ms}
    quiet = QuietCollector()
    try:
        for i, question in enumerate(questions):
            quiet.hold(question.id)
            for budget_ms, cell in found.items():
                outcome = driver.ask(Asked(question=question, budget_ms=budget_ms))
                cell.outcomes.append(outcome)
                if outcome.offered_ms is not None:
                    again = Asked(question=question, budget_ms=outcome.offered_ms)
                    cell.again.append(driver.ask(again))
            quiet.release(question.id)
            progress((i + 1) / len(questions))
    finally:
        quiet.close()
    return found


def real_record(budget_ms: float, cell: RealCell) -> dict[str, Any]:
    """The figures of one budget as plain values: the five, and what became of refusals and
    predictions. `step_ms` is the median over answers of time a token after the first; step errors
    are those of the latency model (`Outcome.step_errors`)."""
    taken = [o for o in cell.outcomes if o.accepted]
    refused = [o for o in cell.outcomes if not o.accepted]
    steps = [
        (o.elapsed_ms - o.ttft_ms) / (o.tokens - 1)
        for o in taken
        if o.elapsed_ms is not None and o.ttft_ms is not None and o.tokens > 1
    ]
    errors = [error for o in taken for error in o.step_errors]
    return {
        "budget_ms": budget_ms,
        **five(cell.outcomes).to_dict(),
        "step_ms": statistics.median(steps) if steps else None,
        "step_error_median": statistics.median(errors) if errors else None,
        "step_error_p99": upper(errors, 0.99) if errors else None,
        "refusal_median_ms": statistics.median(o.refusal_ms for o in refused) if refused else None,
        "refusal_p99_ms": upper([o.refusal_ms for o in refused], 0.99) if refused else None,
        "offers": len(cell.again),
        "offers_kept": sum(o.met for o in cell.again),
        "predicted_holds": predicted_holds(taken),
    }


def predicted_holds(outcomes: Sequence[Outcome]) -> float | None:
    """The share of natural ends that came by the instant that the plan named at p95."""
    ends = [
        o.elapsed_ms <= o.predicted_ms
        for o in outcomes
        if o.ending == "natural" and o.elapsed_ms is not None and o.predicted_ms is not None
    ]
    return sum(ends) / len(ends) if ends else None
