"""Disturbed machines in virtual time: a stall, or half the speed, from the middle of an answer.

It must not know terminals or files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from .baselines import Runs
from .drive import Asked, Outcome
from .questions import Question
from .scores import OURS, Cell, Machine, Progress, World, natural_ms, silent
from .virtual import Disturb, undisturbed

STALL_MS = 200.0
SLOWDOWN = 2.0


def stall(at_ns: int) -> Disturb:
    """What is under way at that instant, or begins first after it, takes STALL_MS longer; once."""
    left = [STALL_MS]

    def disturb(begin_ns: int, ms: float) -> float:
        if left and begin_ns + ms * 1e6 >= at_ns:
            return ms + left.pop()
        return ms

    return disturb


def slowdown(at_ns: int) -> Disturb:
    """From that instant on everything takes SLOWDOWN times as long."""

    def disturb(begin_ns: int, ms: float) -> float:
        quick_ms = max(0.0, min(ms, (at_ns - begin_ns) / 1e6))
        return quick_ms + (ms - quick_ms) * SLOWDOWN

    return disturb


def quiet(at_ns: int) -> Disturb:
    """Nothing happens."""
    return undisturbed


KINDS: Mapping[str, Callable[[int], Disturb]] = {
    "quiet": quiet,
    f"{STALL_MS:g} ms stall": stall,
    f"{SLOWDOWN:g}x slower": slowdown,
}


def disturbed(
    world: World,
    questions: Sequence[Question],
    runs: Mapping[str, Runs],
    *,
    share: float = 1.0,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Cell]:
    """Kind -> our outcomes with budgets of `share` of the natural time.

    Each answer is disturbed at an instant between its first token and its end in the cheapest gear,
    on an engine that has met no disturbance before: a machine that always stalls is another one.
    """
    found: dict[str, Cell] = {}
    for i, (name, kind) in enumerate(KINDS.items()):
        outcomes: list[Outcome] = []
        for j, question in enumerate(questions):
            machine = Machine(world)
            by_gear = runs[question.id]
            run = next(iter(by_gear.values()))
            first_ms = run.token_ms[0] if run.token_ms else 0.0
            at_ms = Random(f"{seed} {question.id}").uniform(first_ms, run.elapsed_ms)
            machine.replay.begin(j)
            machine.virtual.disturb = kind(machine.clock.now_ns() + round(at_ms * 1e6))
            budget_ms = share * natural_ms(by_gear)
            outcomes.append(machine.driver.ask(Asked(question=question, budget_ms=budget_ms)))
            progress((i + (j + 1) / len(questions)) / len(KINDS))
        found[name] = {OURS: outcomes}
    return found
