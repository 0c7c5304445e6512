"""Load in virtual time: many users whose questions come when they come.

Poisson arrivals at shares of what the machine can serve in its best gear, and bursts. It must not
know terminals or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from .baselines import Runs
from .drive import Asked, Outcome
from .questions import Question
from .scores import OURS, Cell, Machine, Progress, World, natural_ms, silent

LOADS = (0.5, 1.0, 2.0)  # of the capacity
BURST = 16  # questions at once
PATIENCE = 2.0  # budgets are so many times the natural time


def capacity_per_s(runs: Mapping[str, Runs]) -> float:
    """Questions a second that one after the other could be answered in the best gear."""
    return len(runs) * 1e3 / sum(natural_ms(by_gear) for by_gear in runs.values())


def poisson(
    questions: Sequence[Question], runs: Mapping[str, Runs], rate_per_s: float, rng: Random
) -> list[Asked]:
    """The questions with exponential gaps between them."""
    at_s, found = 0.0, []
    for question in questions:
        at_s += rng.expovariate(rate_per_s)
        found.append(_asked(question, runs, at_s))
    return found


def bursts(
    questions: Sequence[Question], runs: Mapping[str, Runs], rate_per_s: float
) -> list[Asked]:
    """BURST questions at the same instant, again and again, `rate_per_s` on average."""
    return [
        _asked(question, runs, (1 + i // BURST) * BURST / rate_per_s)
        for i, question in enumerate(questions)
    ]


def _asked(question: Question, runs: Mapping[str, Runs], at_s: float) -> Asked:
    budget_ms = PATIENCE * natural_ms(runs[question.id])
    return Asked(question=question, budget_ms=budget_ms, arrival_ns=1 + round(at_s * 1e9))


def under_load(
    world: World,
    questions: Sequence[Question],
    runs: Mapping[str, Runs],
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Cell]:
    """Load's name -> system -> outcomes. Ours knows the budgets; beside it the cheapest and the
    best gear in the order of arrival, whose clients give up when their budgets are over."""
    capacity = capacity_per_s(runs)
    loads = {
        f"{load:g}x": poisson(questions, runs, load * capacity, Random(f"{seed} {load}"))
        for load in LOADS
    }
    loads["burst"] = bursts(questions, runs, 0.5 * capacity)
    gears = world.gears
    systems: dict[str, str | None] = {
        OURS: None,
        f"gear {gears[0]}, client abort": gears[0],
        f"gear {gears[-1]}, client abort": gears[-1],
    }
    found: dict[str, Cell] = {}
    for i, (name, arrivals) in enumerate(loads.items()):
        found[name] = {}
        for j, (system, gear) in enumerate(systems.items()):
            found[name][system] = _run(world, arrivals, gear)
            progress((i + (j + 1) / len(systems)) / len(loads))
    return found


def _run(world: World, arrivals: Sequence[Asked], gear: str | None) -> list[Outcome]:
    """One system; `gear` None is ours, which is told of the budgets."""
    asked = [
        each
        if gear is None
        else Asked(
            question=each.question,
            budget_ms=each.budget_ms,
            arrival_ns=each.arrival_ns,
            gear=gear,
            told=False,
        )
        for each in arrivals
    ]
    return Machine(world).driver.at_their_times(asked)
