"""Timing: what a step costs on this machine, and what each kind of matrix adds to it.

It must not know accuracy. Gears are timed in turns, round after round, so that a machine that
changes its pace changes it for all of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onesec.backend.base import Backend, Batch, BatchRow
from onesec.core.gear import Gear
from onesec.core.request import SamplingParams

CONTEXT_TOKENS = 64
_STEPS = 8  # a call
Sublayer = tuple[str, str]


def step_times(
    backend: Backend,
    gears: Sequence[Gear],
    *,
    rounds: int,
    progress: Callable[[float], None] | None = None,
) -> list[float]:
    """Milliseconds of a lone greedy step in each gear: medians over `rounds` turns, after
    CONTEXT_TOKENS or as many as the model allows. It writes into the cache's first blocks."""
    context = max(0, min(CONTEXT_TOKENS, backend.context_length - _STEPS))
    blocks = -(-(context + _STEPS) // backend.block_size)
    table = np.arange(blocks, dtype=np.int32)
    seen: list[list[float]] = [[] for _ in gears]
    for turn in range(rounds):
        for i, gear in enumerate(gears):
            sampler = backend.sampler(SamplingParams(ignore_eos=True), eos_ids=())
            row = BatchRow(np.ones(1, np.int32), context, table, sampler=sampler, statistics=False)
            result = backend.forward(Batch(gear, [row], max_steps=_STEPS, exact=True))
            seen[i] += result.step_ms[1:]  # the first one meets another gear's cache lines
        if progress is not None:
            progress((turn + 1) / rounds)
    return [statistics.median(times) for times in seen]


@dataclass(frozen=True, slots=True)
class StepCosts:
    """What a step takes with every matrix at 4 bits, what the second plane of one matrix or its
    activations in 16 bits add, by kind ("qkv", "head", ...), and what skipping one sublayer saves,
    by its first matrix's kind."""

    base_ms: float
    second_plane_ms: Mapping[str, float]
    fine_ms: Mapping[str, float]
    skip_saves_ms: Mapping[str, float]


def kind_of(matrix: str) -> str:
    """ "layers.3.qkv" → "qkv"."""
    return matrix.rpartition(".")[2]


def step_costs(
    backend: Backend,
    matrices: Sequence[str],
    sublayers: Sequence[Sublayer],
    *,
    rounds: int,
    progress: Callable[[float], None] | None = None,
) -> StepCosts:
    """Measure them: all matrices of a kind get their second plane together, or 16 bits of
    activations, and every other sublayer of a kind is skipped together; matrices of one kind have
    one shape."""
    kinds = list(dict.fromkeys(kind_of(matrix) for matrix in matrices))
    members = {kind: [m for m in matrices if kind_of(m) == kind] for kind in kinds}
    gears = [Gear("base", 4)]
    gears += [Gear(f"8 {kind}", 4, dict.fromkeys(members[kind], 8)) for kind in kinds]
    gears += [Gear(f"fine {kind}", 4, fine=frozenset(members[kind])) for kind in kinds]
    skips: dict[str, list[Sublayer]] = {}
    for index, sublayer in enumerate(sublayers):
        if index // 2 % 2 == 1:  # of attention and of FFN, every other one
            skips.setdefault(kind_of(sublayer[0]), []).append(sublayer)
    for kind, some in skips.items():
        names = [name for sublayer in some for name in sublayer]
        gears.append(Gear(f"skip {kind}", 4, dict.fromkeys(names, 0)))
    times = step_times(backend, gears, rounds=rounds, progress=progress)
    base_ms = times[0]

    def added(some_times: Sequence[float]) -> dict[str, float]:
        return {
            kind: max(0.0, ms - base_ms) / len(members[kind])
            for kind, ms in zip(kinds, some_times, strict=True)
        }

    rest = 1 + len(kinds)
    saves = {
        kind: max(0.0, base_ms - ms) / len(some)
        for (kind, some), ms in zip(skips.items(), times[rest + len(kinds) :], strict=True)
    }
    return StepCosts(base_ms, added(times[1:rest]), added(times[rest : rest + len(kinds)]), saves)
