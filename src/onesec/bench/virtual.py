"""VirtualBackend: a model's own tokens, at the times of another machine or model.

What is drawn comes from the backend beneath; how long it takes comes from a Replay, and it moves a
FakeClock. So the real planner, controller and scheduler run through hours of requests in
minutes, over budgets that bind. It must not know deadlines or what replies are worth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from onesec.backend.base import Backend, Batch, BatchResult, Float32Array, RowResult, Sampler
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
        self._left: tuple[BatchResult, int] | None = None  # what a hung step does, and its end
        self.vocab_size = inner.vocab_size
        self.context_length = inner.context_length
        self.block_size = inner.block_size
        self.num_blocks = inner.num_blocks
        self.gears: tuple[Gear, ...] = inner.gears
        self.leaves_steps = True

    def sampler(self, params: SamplingParams, *, eos_ids: tuple[int, ...]) -> Sampler:
        return self._inner.sampler(params, eos_ids=eos_ids)

    def forward(self, batch: Batch) -> BatchResult:
        """Steps begin before `until_ns` on the replayed clock. A step that would pass `watch_ns` is
        left alone there; `rest` tells what it did."""
        self.rest(None)
        now_ns = self._clock.now_ns()
        times: list[float] = []
        end_ns, hangs = now_ns, False
        rows = len(batch.rows)
        context = sum(row.start + len(row.tokens) for row in batch.rows) // rows
        while len(times) < batch.max_steps and not hangs:
            if times and batch.until_ns is not None and end_ns > batch.until_ns:
                break
            begin_ns, name = end_ns, batch.gear.name
            if times:
                step_ms = self._replay.step_ms(name, context + len(times) - 1, rows)
            else:
                step_ms = self._first_ms(batch)
            times.append(self.disturb(begin_ns, step_ms))
            end_ns = begin_ns + round(times[-1] * 1e6)
            hangs = batch.watch_ns is not None and end_ns > max(batch.watch_ns, now_ns)
        plain = replace(batch, max_steps=len(times), until_ns=None, watch_ns=None)
        result = self._inner.forward(plain)
        hangs = hangs and len(result.step_ms) == len(times)
        result.step_ms = times[: len(result.step_ms)]
        if hangs and batch.watch_ns is not None:
            self._left = (_split(result, len(times) - 1), end_ns)
            result.overdue = True
            self._move_to(batch.watch_ns)
        else:
            self._clock.advance_ms(sum(result.step_ms))
        return result

    def rest(self, until_ns: int | None) -> BatchResult | None:
        if self._left is None:
            return None
        result, end_ns = self._left
        if until_ns is not None and end_ns > until_ns:
            self._move_to(until_ns)
            return None
        self._move_to(end_ns)
        self._left = None
        return result

    def _move_to(self, instant_ns: int) -> None:
        self._clock.advance_ms(max(0, instant_ns - self._clock.now_ns()) / 1e6)

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


def _split(result: BatchResult, steps: int) -> BatchResult:
    """Take what came after so many steps out of a result, as a result of its own."""
    rest = BatchResult([RowResult() for _ in result.rows], result.step_ms[steps:], 0.0, 0)
    del result.step_ms[steps:]
    for row, later in zip(result.rows, rest.rows, strict=True):
        for name in ("tokens", "logprobs", "entropies", "margins", "top"):
            values = getattr(row, name)
            setattr(later, name, values[steps:])
            del values[steps:]
        if steps == 0:
            later.prompt_logprobs, row.prompt_logprobs = row.prompt_logprobs, []
    return rest


def shares(backend: Backend) -> dict[str, float]:
    """How far each gear's weight bytes lie between those of the cheapest and the best gear.

    >>> shares(backend)  # doctest: +SKIP
    {'4': 0.0, 'g2': 0.25, '8': 1.0}
    """
    sizes = {gear.name: backend.bytes_per_token(gear) for gear in backend.gears}
    low, high = min(sizes.values()), max(sizes.values())
    return {name: (size - low) / max(1, high - low) for name, size in sizes.items()}
