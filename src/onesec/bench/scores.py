"""Score over time in virtual time: the same questions at shares of their natural time.

A question's natural time is what its answer takes in the best gear. Each share of it is a cell; in
each cell every system answers every question. It must not know terminals or files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from onesec.backend.base import Backend
from onesec.budget.latency import LatencyModel
from onesec.budget.length import LengthModel
from onesec.core.clock import FakeClock
from onesec.engine.engine import Engine
from onesec.model.tokenizer import Tokenizer

from .baselines import Runs, capped, one_shot, oracle, static
from .drive import Asked, Driver, FullRun, Outcome
from .questions import Question
from .recording import Recording, Replay
from .tapes import TapedBackend
from .virtual import VirtualBackend, shares

SHARES = (0.25, 0.375, 0.5, 0.625, 0.75, 1.0, 1.25, 1.5)  # of a question's natural time
PESSIMISMS = (1.0, 5.0)  # of the one-shot planner
OURS = "onesec"
TRYING = "onesec, best effort"  # refuses nothing
Progress = Callable[[float], None]
Cell = dict[str, list[Outcome]]  # system -> outcomes, questions in the same order


def silent(share: float) -> None:
    """Progress that nobody looks at."""


@dataclass(slots=True, kw_only=True)
class World:
    """A model's tokens at a recorded machine's times: what every system is run in.

    taught   lengths of answers that every planner has seen before it begins
    """

    backend: Backend
    tokenizer: Tokenizer
    eos_ids: tuple[int, ...]
    recording: Recording
    taught: LengthModel = field(default_factory=LengthModel)
    tapes: TapedBackend = field(init=False)

    def __post_init__(self) -> None:
        self.tapes = TapedBackend(self.backend)

    @property
    def gears(self) -> tuple[str, ...]:
        """Names of the gears, from the cheapest to the best."""
        return tuple(gear.name for gear in self.backend.gears)

    def lengths(self) -> LengthModel:
        """What is known of answers' lengths at the beginning; a copy, to be learned further."""
        return LengthModel.from_dict(self.taught.to_dict())

    def replay(self) -> Replay:
        """The recorded machine."""
        return self.recording.replay(shares(self.backend))


class Machine:
    """One engine in virtual time. Questions of the same number meet the same noise, whatever the
    system: see `Replay.begin`."""

    def __init__(self, world: World) -> None:
        self.clock = FakeClock(1)
        self.replay = world.replay()
        self.virtual = VirtualBackend(world.tapes, self.clock, self.replay)
        engine = Engine(
            self.virtual,
            self.clock,
            latency=world.replay().latency,
            eos_ids=world.eos_ids,
            decode_text=world.tokenizer.decode,
            length=world.lengths(),
            prefix_cache=False,
            speculate=False,
        )
        self.driver = Driver(engine, self.clock, world.tokenizer, self.clock.advance_ms)


def full_runs(
    world: World, questions: Sequence[Question], progress: Progress = silent
) -> dict[str, dict[str, FullRun]]:
    """Every question in every gear, for as long as it takes: question id -> gear -> run."""
    found: dict[str, dict[str, FullRun]] = {question.id: {} for question in questions}
    for i, gear in enumerate(world.gears):
        machine = Machine(world)
        for j, question in enumerate(questions):
            machine.replay.begin(j)
            found[question.id][gear] = machine.driver.full(question, gear)
            progress((i + (j + 1) / len(questions)) / len(world.gears))
    return found


def natural_ms(runs: Runs) -> float:
    """What the answer takes in the best gear."""
    return next(reversed(runs.values())).elapsed_ms


def cells(
    world: World,
    questions: Sequence[Question],
    runs: dict[str, dict[str, FullRun]],
    *,
    at: Sequence[float] = SHARES,
    progress: Progress = silent,
) -> dict[float, Cell]:
    """Each system's outcomes at each share of the natural time.

    Ours runs for real, on an engine a cell, which learns as it goes: once refusing what it cannot
    promise, once refusing nothing. The others follow from
    the full runs, with the lengths that were taught and with the recorded costs.
    """
    latency, lengths = world.replay().latency, world.lengths()
    found: dict[float, Cell] = {}
    for i, share in enumerate(at):
        cell: Cell = {OURS: [], TRYING: []}
        machines = {OURS: Machine(world), TRYING: Machine(world)}
        for j, question in enumerate(questions):
            by_gear = runs[question.id]
            budget_ms = share * natural_ms(by_gear)
            for name, machine in machines.items():
                machine.replay.begin(j)
                asked = Asked(question=question, budget_ms=budget_ms, best_effort=name == TRYING)
                cell[name].append(machine.driver.ask(asked))
            for name, outcome in _others(by_gear, budget_ms, latency, lengths):
                cell.setdefault(name, []).append(outcome)
            progress((i + (j + 1) / len(questions)) / len(at))
        found[share] = cell
    return found


def _others(
    runs: Runs, budget_ms: float, latency: LatencyModel, lengths: LengthModel
) -> Iterator[tuple[str, Outcome]]:
    for gear, run in runs.items():
        yield f"gear {gear}", static(run, budget_ms)
    best = next(reversed(runs.values()))
    yield "max_tokens", capped(best, budget_ms, latency)
    for pessimism in PESSIMISMS:
        outcome = one_shot(runs, budget_ms, latency, lengths, pessimism)
        yield f"one-shot k={pessimism:g}", outcome
    yield "oracle", oracle(runs, budget_ms)
