"""VirtualBackend: a model's own tokens, at the times of another machine or model.

What is drawn comes from the backend beneath; how long it takes comes from a Replay, and it moves a
FakeClock. So the real planner, controller and scheduler run through hours of requests in
minutes, over budgets that bind. It must not know deadlines or what replies are worth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from onesec.backend.base import Backend, Batch, BatchResult, Float32Array, Sampler
from onesec.core.clock import FakeClock
from onesec.core.gear import Gear
from onesec.core.request import SamplingParams

from .recording import Replay

# (instant in ns, milliseconds that something takes from there) -> milliseconds that it takes
Disturb = Callable[[int, float], float]


def undisturbed(now_ns: int, ms: float) -> float:
    """A quiet machine."""
    return ms


class VirtualBackend:
    """A Backend whose time is replayed. `disturb` may be set to stretch what begins at an instant:
    a stall, or a machine that is slower for a while."""

    def __init__(self, inner: Backend, clock: FakeClock, replay: Replay) -> None:
        self._inner = inner
        self._clock = clock
        self._replay = replay
        self.disturb: Disturb = undisturbed
        self.vocab_size = inner.vocab_size
        self.context_length = inner.context_length
        self.block_size = inner.block_size
        self.num_blocks = inner.num_blocks
        self.gears: tuple[Gear, ...] = inner.gears

    def sampler(self, params: SamplingParams, *, eos_ids: tuple[int, ...]) -> Sampler:
        return self._inner.sampler(params, eos_ids=eos_ids)

    def forward(self, batch: Batch) -> BatchResult:
        """Steps begin before `until_ns` on the replayed clock; the clock stands at their end."""
        now_ns = self._clock.now_ns()
        times = [self._taken(now_ns, self._first_ms(batch))]
        total_ms = times[0]
        rows = len(batch.rows)
        context = sum(row.start + len(row.tokens) for row in batch.rows) // rows
        for i in range(1, batch.max_steps):
            begin_ns = now_ns + round(total_ms * 1e6)
            if batch.until_ns is not None and begin_ns > batch.until_ns:
                break
            step_ms = self._replay.step_ms(batch.gear.name, context + i - 1, rows)
            times.append(self._taken(begin_ns, step_ms))
            total_ms += times[-1]
        result = self._inner.forward(replace(batch, max_steps=len(times), until_ns=None))
        result.step_ms = times[: len(result.step_ms)]
        self._clock.advance_ms(sum(result.step_ms))
        return result

    def logits(self, batch: Batch) -> Float32Array:
        return self._inner.logits(batch)

    def bytes_per_token(self, gear: Gear) -> int:
        return self._inner.bytes_per_token(gear)

    def close(self) -> None:
        """Nothing of its own: whoever opened the backend beneath closes it."""

    def _first_ms(self, batch: Batch) -> float:
        """A prompt chunk; a step of one token a row; or a check of a draft, as so many rows."""
        name, first = batch.gear.name, batch.rows[0]
        tokens = sum(len(row.tokens) for row in batch.rows)
        if not batch.exact:
            return self._replay.prefill_ms(name, tokens, first.start)
        return self._replay.step_ms(name, first.start, tokens)

    def _taken(self, begin_ns: int, ms: float) -> float:
        return self.disturb(begin_ns, ms)


def shares(backend: Backend) -> dict[str, float]:
    """How far each gear's weight bytes lie between those of the cheapest and the best gear.

    >>> shares(backend)  # doctest: +SKIP
    {'4': 0.0, 'g2': 0.25, '8': 1.0}
    """
    sizes = {gear.name: backend.bytes_per_token(gear) for gear in backend.gears}
    low, high = min(sizes.values()), max(sizes.values())
    return {name: (size - low) / max(1, high - low) for name, size in sizes.items()}
