"""profile: measure a backend's prompt and step times, and keep them for the next start.

It must not know requests or deadlines. It writes into the cache's blocks: call it before the engine
does.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import numpy as np

from onesec.backend.base import Backend, Batch, BatchRow, Sampler
from onesec.budget.fit import PrefillSample, StepSample, between, fit
from onesec.budget.latency import P50, GearCost, LatencyModel
from onesec.core.clock import Clock
from onesec.core.gear import Gear
from onesec.core.request import SamplingParams

_PREFILL_TOKENS = (64, 256, 16)  # in order of worth, for a machine that has time for few
_BATCHES = (1, 2, 4, 8)
_STEPS = 4  # a call
_CHECKED_ROWS, _CHECKED_PROMPT = 2, 16  # of a kept profile, beside a single row's steps
_MUCH_QUICKER = 1.5  # a machine so many times quicker than a kept profile is measured anew


class _Probe:
    """Runs prompts and steps in the first blocks of the cache; rows share a prefix."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._size = backend.block_size
        rows = max(_BATCHES)
        own = -(-2 * _STEPS // self._size) + 1  # blocks of each row past the prefix
        capacity = min(backend.context_length, (backend.num_blocks - rows * own) * self._size)
        self.longest = max(1, capacity - 2 * _STEPS - 1)
        prefix = -(-min(self.longest, max(_PREFILL_TOKENS)) // self._size)
        self._prefix = np.arange(prefix, dtype=np.int32)
        self._own = [
            np.arange(prefix + own * i, prefix + own * (i + 1), dtype=np.int32)
            for i in range(min(rows, (backend.num_blocks - prefix) // own))
        ]
        if not self._own:  # so small a cache that a row's steps take the prefix's place
            self._own = [np.arange(min(own, backend.num_blocks), dtype=np.int32)]

    @property
    def rows(self) -> int:
        return len(self._own)

    def prefill(self, gear: Gear, tokens: int) -> PrefillSample:
        ids = np.arange(tokens, dtype=np.int32) % self._backend.vocab_size
        row = BatchRow(ids, 0, self._prefix[: -(-tokens // self._size)], self._sampler())
        result = self._backend.forward(Batch(gear, [row]))
        return PrefillSample(gear.name, tokens, sum(result.step_ms))

    def steps(self, gear: Gear, context: int, batch: int, count: int = _STEPS) -> list[StepSample]:
        """A few steps of `batch` rows after a shared prefix of whole blocks."""
        shared = context // self._size
        context = shared * self._size
        rows = [
            BatchRow(
                np.ones(1, dtype=np.int32),
                context,
                np.concatenate([self._prefix[:shared], own]),
                self._sampler(),
            )
            for own in self._own[:batch]
        ]
        result = self._backend.forward(Batch(gear, rows, max_steps=count, exact=True))
        return [
            StepSample(gear.name, context + i, ms, batch) for i, ms in enumerate(result.step_ms)
        ]

    def _sampler(self) -> Sampler:
        return self._backend.sampler(SamplingParams(ignore_eos=True), eos_ids=())


def profile(
    backend: Backend, clock: Clock, *, gears: Sequence[Gear] | None = None, budget_s: float = 2.0
) -> LatencyModel:
    """Measure prompts of a few lengths and steps at a few contexts and batches, for each gear.

    Every gear is measured at least twice; then rounds repeat until `budget_s` is spent. Mixed gears
    between two that are measured are not, unless they have fine activations: their times lie
    between, as their bytes do.

    >>> model = profile(backend, MonotonicClock(), budget_s=1.0)  # doctest: +SKIP
    """
    everyone = tuple(gears or backend.gears)
    gears = _to_measure(everyone)
    probe = _Probe(backend)
    lengths = [n for n in _PREFILL_TOKENS if n <= probe.longest] or [probe.longest]
    longest = max(lengths)
    batches = [batch for batch in _BATCHES if batch <= probe.rows]
    end_ns = clock.now_ns() + round(budget_s * 1e9)
    samples: list[PrefillSample | StepSample] = []
    probe.prefill(gears[-1], longest)  # fills the prefix and warms the machine
    for turn in range(8):
        for gear in gears:
            for length in lengths:
                samples.append(probe.prefill(gear, length))
                if turn > 0 and clock.now_ns() >= end_ns:
                    break
            for batch in batches:
                for context in (longest, 0) if batch == 1 else (longest,):
                    samples += probe.steps(gear, context, batch)
                if turn > 0 and clock.now_ns() >= end_ns:
                    break
        if turn > 0 and clock.now_ns() >= end_ns:
            break
    measured = fit(samples)
    return LatencyModel({gear.name: _cost(backend, gear, gears, measured) for gear in everyone})


def reach(backend: Backend) -> tuple[int, int]:
    """The longest prompt and the most rows that a profile of this backend measures: what of its
    cache's size decides what a profile says."""
    probe = _Probe(backend)
    return min(probe.longest, max(_PREFILL_TOKENS)), probe.rows


def _to_measure(gears: Sequence[Gear]) -> tuple[Gear, ...]:
    """Those whose time does not follow from their bytes and two others: uniform ones, those with
    fine activations, and mixed ones at either end."""
    first = next((i for i, gear in enumerate(gears) if not gear.widths), len(gears))
    last = max((i for i, gear in enumerate(gears) if not gear.fine), default=0)
    return tuple(
        gear for i, gear in enumerate(gears) if not first < i < last or not gear.widths or gear.fine
    )


def _cost(
    backend: Backend, gear: Gear, measured: Sequence[Gear], latency: LatencyModel
) -> GearCost:
    """What was measured of a gear, or what lies between its neighbours in bytes."""
    if gear in measured:
        return latency.cost(gear.name)
    size = backend.bytes_per_token(gear)
    sizes = [(backend.bytes_per_token(g), g.name) for g in measured if not g.fine]
    low = max(pair for pair in sizes if pair[0] <= size)
    high = min(pair for pair in sizes if pair[0] >= size)
    share = (size - low[0]) / (high[0] - low[0]) if high[0] > low[0] else 0.0
    return between(latency.cost(low[1]), latency.cost(high[1]), share)


def holds(backend: Backend, latency: LatencyModel) -> bool:
    """Whether a kept model still describes this machine, held against a few steps, of one row and
    of more, and a short prompt, measured now.

    False where any of them is much quicker than it says: it was measured beside other work, would
    refuse what can be done, and is better measured anew. Where the machine is slower now, the model
    begins with that.
    """
    probe, gear = _Probe(backend), backend.gears[0]
    if any(other.name not in latency.gears for other in backend.gears):
        return False
    probe.steps(gear, 0, 1, 1)  # warms the machine

    def step_ratio(batch: int, count: int) -> float:
        return statistics.median(
            step.ms / max(1e-6, latency.step_ms(gear.name, step.context, batch))
            for step in probe.steps(gear, 0, batch, count)
        )

    # Whoever starts waits for this: it is as little as will do.
    slowness = step_ratio(1, 3)
    rows = step_ratio(min(_CHECKED_ROWS, probe.rows), 2)
    prompt = probe.prefill(gear, min(_CHECKED_PROMPT, probe.longest))
    prompt_ms = latency.prefill_ms(gear.name, prompt.tokens, quantile=P50)
    if min(slowness, rows, prompt.ms / max(1e-6, prompt_ms)) * _MUCH_QUICKER < 1.0:
        return False
    if slowness > 1.0:
        latency.start_at(slowness)
    return True


def cached_profile(
    machine: str,
    artifact: str,
    cache_dir: Path,
    measure: Callable[[], LatencyModel],
    *,
    still_holds: Callable[[LatencyModel], bool] = lambda latency: True,
    fresh: bool = False,
) -> LatencyModel:
    """The saved profile of this machine and artifact (both given as fingerprints), or a new one.
    `fresh` replaces the saved one, and so does a saved one of which `still_holds` says no.

    A damaged file is measured anew; one that cannot be written is not an error.
    """
    key = blake2b(f"{machine}\0{artifact}".encode(), digest_size=16).hexdigest()
    path = cache_dir / f"profile-{key}.json"
    if not fresh:
        with suppress(OSError, ValueError, RecursionError):
            kept = LatencyModel.from_dict(json.loads(path.read_text()))
            if still_holds(kept):
                return kept
    model = measure()
    with suppress(OSError):
        write_whole(path, json.dumps(model.to_dict()))
    return model


def write_whole(path: Path, text: str) -> None:
    """All of the file or nothing: another process may read or write it now. Only its owner may read
    it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
