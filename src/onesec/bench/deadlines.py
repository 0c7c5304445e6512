"""Deadlines: the whole benchmark, from parts that are open already to plain values.

Score over time, load and disturbances in virtual time; the same engine in real time as the check.
It must not know terminals or files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any

from onesec.backend.base import Backend
from onesec.budget.latency import LatencyModel
from onesec.core.clock import MonotonicClock
from onesec.engine.engine import Engine
from onesec.loading import LoadedModel

from .baselines import Runs
from .disturbed import disturbed
from .drive import Driver, Outcome, Words
from .figures import difference, five
from .load import capacity_per_s, under_load
from .questions import Question
from .real import in_real_time, real_record
from .recording import Recording
from .scores import OURS, SHARES, TRYING, Cell, Machine, Progress, World, cells, full_runs, silent

TAUGHT = 30  # questions of each kind and language, whose lengths planners know beforehand
ALL = "all"
# A part's progress, by its name; None where nobody looks.
Follow = Callable[[str], AbstractContextManager[Progress | None]]


def split(
    questions: Sequence[Question], taught: int = TAUGHT
) -> tuple[list[Question], list[Question]]:
    """Questions whose lengths are taught, and those that are asked: none is in both."""
    seen: Counter[tuple[str, str]] = Counter()
    first: list[Question] = []
    rest: list[Question] = []
    for question in questions:
        kind = question.group, question.language
        seen[kind] += 1
        (first if seen[kind] <= taught else rest).append(question)
    return first, rest


def virtual_record(
    loaded: LoadedModel,
    recording: Recording,
    taught: Sequence[Question],
    questions: Sequence[Question],
    *,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
    follow: Follow,
) -> dict[str, Any]:
    """Score over time, load and disturbances, as plain values. What does not end by itself in the
    best gear has no natural time to take a share of: it is left out, and counted as `endless`."""
    world = World(
        backend=loaded.backend,
        tokenizer=loaded.tokenizer,
        eos_ids=loaded.eos_ids,
        recording=recording,
    )
    with follow("lengths of answers") as advance:
        teach(world, taught, advance or silent)
    with follow("every gear") as advance:
        runs = full_runs(world, questions, advance or silent)
    asked, questions = questions, [q for q in questions if ends(runs[q.id])]
    runs = {question.id: runs[question.id] for question in questions}
    with follow("every deadline") as advance:
        grid = cells(world, questions, runs, at=shares, progress=advance or silent)
    with follow("many users") as advance:
        loads = under_load(world, questions, runs, seed=seed, progress=advance or silent)
    with follow("disturbed machines") as advance:
        noise = disturbed(world, questions, runs, seed=seed, progress=advance or silent)
    return {
        "shape": recording.shape,
        "recorded_on": dict(recording.machine),
        "gears": list(world.gears),
        "questions": dict(Counter(question.group for question in questions)),
        "endless": len(asked) - len(questions),
        "capacity_per_s": capacity_per_s(runs),
        "grid": [point(share, cell) for share, cell in grid.items()],
        "monotone": monotone(grid),
        "load": {name: systems(cell) for name, cell in loads.items()},
        "disturbed": {name: systems(cell) for name, cell in noise.items()},
        "refusals": refusals(grid, runs),
    }


def ends(runs: Runs) -> bool:
    """Whether the answer comes to its own end in the best gear."""
    return next(reversed(runs.values())).natural


def teach(world: World, questions: Sequence[Question], progress: Progress) -> None:
    """Learn the lengths of the answers in the best gear, where they ended by themselves."""
    machine = Machine(world)
    for i, question in enumerate(questions):
        machine.replay.begin(i)
        run = machine.driver.full(question, world.gears[-1])
        world.taught.observe(len(run.token_ms), ended=run.natural, cues=question.cues)
        progress((i + 1) / len(questions))


def point(share: float, cell: Cell) -> dict[str, Any]:
    """One share of the natural time: for every group the figures of each system, and ours against
    the static gear that is best for this group at this share."""
    groups = dict.fromkeys(o.question.group for o in cell[OURS])
    return {"share": share, "groups": {g: _group(cell, g) for g in (ALL, *groups)}}


def of_group(outcomes: Sequence[Outcome], group: str) -> list[Outcome]:
    """The outcomes of a group of questions, or all of them."""
    return [o for o in outcomes if group in (ALL, o.question.group)]


def _group(cell: Cell, group: str) -> dict[str, Any]:
    chosen = {name: of_group(outcomes, group) for name, outcomes in cell.items()}
    figures = {name: five(outcomes) for name, outcomes in chosen.items()}
    static = [name for name in chosen if name.startswith("gear ")]
    best = max(static, key=lambda name: figures[name].score)
    gains = {name: difference(chosen[name], chosen[best]) for name in (OURS, TRYING)}
    return {
        "systems": {name: five_.to_dict() for name, five_ in figures.items()},
        "best_static": best,
        "gains": {
            name: {"gain": gain, "half_width": half_width}
            for name, (gain, half_width) in gains.items()
        },
    }


def monotone(grid: Mapping[float, Cell]) -> list[dict[str, Any]]:
    """Where more time gave a worse score, beyond the 95 % interval of the paired difference."""
    found = []
    points = list(grid.items())
    groups = (ALL, *dict.fromkeys(o.question.group for o in points[0][1][OURS]))
    for (low, before), (high, after) in pairwise(points):
        for group in groups:
            gain, half_width = difference(
                of_group(after[OURS], group), of_group(before[OURS], group)
            )
            if gain + half_width < 0.0:
                found.append({"group": group, "from": low, "to": high, "gain": gain})
    return found


def refusals(grid: Mapping[float, Cell], runs: Mapping[str, Runs]) -> list[dict[str, Any]]:
    """For each share: how many were refused, and how many of those would have ended by themselves
    in time in the cheapest gear (a replay oracle)."""
    found = []
    for share, cell in grid.items():
        refused = [o for o in cell[OURS] if not o.accepted]
        wrongly = 0
        for outcome in refused:
            run = next(iter(runs[outcome.question.id].values()))
            assert outcome.budget_ms is not None
            wrongly += run.natural and run.elapsed_ms <= outcome.budget_ms
        found.append(
            {"share": share, "asked": len(cell[OURS]), "refused": len(refused), "wrongly": wrongly}
        )
    return found


def systems(cell: Cell) -> dict[str, Any]:
    """The five figures of every system."""
    return {name: five(outcomes).to_dict() for name, outcomes in cell.items()}


def real_time_record(
    backend: Backend,
    latency: LatencyModel,
    words: Words,
    questions: Sequence[Question],
    budgets_ms: Sequence[float],
    *,
    eos_ids: tuple[int, ...] = (),
    progress: Progress,
) -> list[dict[str, Any]]:
    """The figures of every budget on this machine's own clock, one user."""
    clock = MonotonicClock()
    engine = Engine(
        backend,
        clock,
        latency=latency,
        eos_ids=eos_ids,
        decode_text=words.decode,
        prefix_cache=False,  # a question is asked at every budget, and must not find itself
    )

    def never(milliseconds: float) -> None:
        raise RuntimeError("one user never waits for an arrival")

    found = in_real_time(Driver(engine, clock, words, never), questions, budgets_ms, progress)
    return [real_record(budget_ms, cell) for budget_ms, cell in found.items()]
