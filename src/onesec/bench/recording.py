"""Recording: how long prompts and steps took on a real machine, one by one, to be replayed.

It must not know requests, deadlines or models' words. A recording holds the fitted costs of each
gear and the ratios of measured to fitted in the order in which they were measured, so that a replay
has the machine's own noise: its tails, and how slow steps follow slow steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onesec.backend.base import Backend, Batch, BatchRow
from onesec.budget.fit import PrefillSample, StepSample, between, fit
from onesec.budget.latency import P50, GearCost, LatencyModel
from onesec.core.clock import Clock
from onesec.core.errors import InvalidRequest
from onesec.core.request import SamplingParams

PROMPTS = (16, 64, 128, 256, 512)  # tokens of the prompts that are measured
STEPS = 64  # decode steps after each prompt
_ROWS = (2, 4, 8)  # batches that are measured besides single rows
_ROW_STEPS = 8
_STRIDE = 16  # steps of the record between two questions' places
_VERSION = 1


def shipped() -> Path:
    """The recording that comes with the package: a 0.5B shape on two cores."""
    return Path(__file__).parents[1] / "assets" / "recordings" / "qwen2.5-0.5b-zen3.json"


@dataclass(frozen=True, slots=True)
class GearRecord:
    """One gear: its fitted cost, its weight bytes a step, and measured / fitted in order."""

    cost: GearCost
    bytes_per_token: int
    prefill_ratios: tuple[float, ...]
    step_ratios: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """What a shape's prompts and steps took on a machine, by gear."""

    shape: str
    machine: Mapping[str, Any]
    gears: Mapping[str, GearRecord]

    def latency(self) -> LatencyModel:
        """The fitted costs as a model, for gears of the recording's own names."""
        return LatencyModel({name: record.cost for name, record in self.gears.items()})

    def replay(self, shares: Mapping[str, float]) -> Replay:
        """Times for other gears: `shares` says for each how far between the recording's cheapest
        and best gear its weight bytes lie (0 to 1)."""
        ordered = sorted(self.gears.values(), key=lambda record: record.bytes_per_token)
        low, high = ordered[0], ordered[-1]
        costs = {name: between(low.cost, high.cost, share) for name, share in shares.items()}
        nearest = {name: low if share < 0.5 else high for name, share in shares.items()}
        return Replay(costs, nearest)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(self.to_dict(), indent=None) + "\n", encoding="utf-8")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; ratios with four digits."""
        costs = self.latency().to_dict()["gears"]
        return {
            "version": _VERSION,
            "shape": self.shape,
            "machine": dict(self.machine),
            "gears": {
                name: {
                    "cost": costs[name],
                    "bytes_per_token": record.bytes_per_token,
                    "prefill_ratios": [round(ratio, 4) for ratio in record.prefill_ratios],
                    "step_ratios": [round(ratio, 4) for ratio in record.step_ratios],
                }
                for name, record in self.gears.items()
            },
        }

    @classmethod
    def load(cls, path: Path) -> Recording:
        """The inverse of `save`. Raises InvalidRequest where the file is no recording."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["version"] != _VERSION:
                raise ValueError(f"version {values['version']!r} is not {_VERSION}")
            gears = values["gears"]
            saved = {"version": 1, "gears": {name: g["cost"] for name, g in gears.items()}}
            latency = LatencyModel.from_dict(saved)
            return cls(
                shape=str(values["shape"]),
                machine=dict(values["machine"]),
                gears={
                    name: GearRecord(
                        latency.cost(name),
                        int(g["bytes_per_token"]),
                        _ratios(g["prefill_ratios"]),
                        _ratios(g["step_ratios"]),
                    )
                    for name, g in gears.items()
                },
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidRequest(
                f"{path} is not a recording of step times: {type(error).__name__}: {error}.",
                hint="Make one with `onesec bench record --shape NAME -o FILE`.",
            ) from None


class Replay:
    """Times of prompts and steps as the recorded machine would have taken them.

    `begin` goes to a question's place in the record; steps go on from there, and a prompt meets the
    noise of the steps beside it, so that slow spells stay spells.
    """

    def __init__(self, costs: Mapping[str, GearCost], nearest: Mapping[str, GearRecord]) -> None:
        self.latency = LatencyModel(costs)
        self._nearest = nearest
        self._place = 0

    def begin(self, number: int) -> None:
        """Go to the place of the question of that number."""
        self._place = number * _STRIDE

    def prefill_ms(self, gear: str, tokens: int, start: int) -> float:
        """The time of one prompt chunk of `tokens` after `start` cached ones."""
        ratios = self._nearest[gear].prefill_ratios
        ratio = ratios[self._place // STEPS % len(ratios)]
        return ratio * self.latency.prefill_ms(gear, tokens, start=start, quantile=P50)

    def step_ms(self, gear: str, context: int, batch: int) -> float:
        """The time of one decode step of `batch` rows of `context` cached tokens each."""
        ratios = self._nearest[gear].step_ratios
        self._place += 1
        return ratios[self._place % len(ratios)] * self.latency.step_ms(gear, context, batch)


def record(
    backend: Backend,
    clock: Clock,
    *,
    shape: str,
    machine: Mapping[str, Any],
    rounds: int = 8,
    progress: Callable[[float], None] = lambda share: None,
) -> Recording:
    """Measure every gear of a backend: `rounds` prompts of each length, 64 steps after each.

    Gears take turns, so that a slow spell of the machine meets all of them.
    """
    runner = _Runner(backend)
    prefills: dict[str, list[PrefillSample]] = {gear.name: [] for gear in backend.gears}
    steps: dict[str, list[StepSample]] = {gear.name: [] for gear in backend.gears}
    beside: list[StepSample] = []
    runner.prefill(backend.gears[-1].name, PROMPTS[1])
    for turn in range(rounds):
        for tokens in PROMPTS:
            for gear in backend.gears:
                prefills[gear.name].append(runner.prefill(gear.name, tokens))
                steps[gear.name] += runner.steps(gear.name, tokens, STEPS)
        if turn % 2 == 0:
            for rows in _ROWS:
                for gear in backend.gears:
                    beside += runner.rows(gear.name, rows)
        progress((turn + 1) / rounds)
    alone = [sample for samples in steps.values() for sample in samples]
    latency = fit([*(s for samples in prefills.values() for s in samples), *alone, *beside])
    return Recording(
        shape,
        machine,
        {
            gear.name: GearRecord(
                latency.cost(gear.name),
                backend.bytes_per_token(gear),
                tuple(
                    s.ms / latency.prefill_ms(s.gear, s.tokens, quantile=P50)
                    for s in prefills[gear.name]
                ),
                tuple(s.ms / latency.step_ms(s.gear, s.context) for s in steps[gear.name]),
            )
            for gear in backend.gears
        },
    )


class _Runner:
    """Runs prompts and steps of random tokens straight through `forward`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._gears = {gear.name: gear for gear in backend.gears}
        self._rng = np.random.default_rng(0)

    def prefill(self, gear: str, tokens: int) -> PrefillSample:
        ids = self._rng.integers(0, self._backend.vocab_size, tokens, dtype=np.int32)
        blocks = np.arange(-(-tokens // self._backend.block_size), dtype=np.int32)
        row = BatchRow(ids, 0, blocks, self._sampler(), statistics=False)
        result = self._backend.forward(Batch(self._gears[gear], [row]))
        return PrefillSample(gear, tokens, sum(result.step_ms))

    def steps(self, gear: str, context: int, count: int, rows: int = 1) -> list[StepSample]:
        """Steps after `context` tokens; each row has blocks of its own, whatever lies in them."""
        size = -(-(context + count) // self._backend.block_size)
        batch_rows = [
            BatchRow(
                np.ones(1, dtype=np.int32),
                context,
                np.arange(row * size, (row + 1) * size, dtype=np.int32),
                self._sampler(),
                statistics=False,
            )
            for row in range(rows)
        ]
        batch = Batch(self._gears[gear], batch_rows, max_steps=count, exact=True)
        result = self._backend.forward(batch)
        return [StepSample(gear, context + i, ms, rows) for i, ms in enumerate(result.step_ms)]

    def rows(self, gear: str, rows: int) -> list[StepSample]:
        return self.steps(gear, PROMPTS[1], _ROW_STEPS, rows)

    def _sampler(self) -> Any:
        return self._backend.sampler(SamplingParams(ignore_eos=True), eos_ids=())


def _ratios(values: Sequence[Any]) -> tuple[float, ...]:
    ratios = tuple(float(value) for value in values)
    if not ratios or not all(0.0 < ratio < 1e6 for ratio in ratios):
        raise ValueError("ratios must be positive numbers")
    return ratios
