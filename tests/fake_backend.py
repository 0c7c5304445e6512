"""FakeBackend: the contract of backend/base.py with arithmetic that shows every mistake.

The next token is a hash of all tokens found through the block table, of the gears that computed
them, and of the sampler's own state: a wrong block, a stale prefix, a lost or doubled step or a
token that was never computed gives other tokens. Time passes by a given cost law.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onesec.backend.base import (
    Backend,
    Batch,
    BatchResult,
    BatchRow,
    Float32Array,
    RowResult,
    TokenMask,
)
from onesec.budget.latency import GearCost, LatencyModel
from onesec.core.clock import FakeClock
from onesec.core.gear import Gear
from onesec.core.request import SamplingParams
from onesec.engine.engine import Engine
from onesec.engine.sequence import Delta

_MASK = (1 << 61) - 1
COSTS = {
    "4": GearCost(a_ms=0.5, b_ms=0.05, p_ms=0.001, q_ms=5.0, batch=((1, 1.0), (8, 1.5), (16, 2.0))),
    "8": GearCost(a_ms=0.5, b_ms=0.06, p_ms=0.001, q_ms=9.0, batch=((1, 1.0), (8, 1.5), (16, 2.0))),
}
EOS = 0
ALPHABET = "\0 abcdefghijklmnopqrstuvwxyz.。"  # token id -> character


def decode_text(ids: Sequence[int]) -> str:
    """A character a token; the end token gives nothing."""
    return "".join(ALPHABET[i % len(ALPHABET)] for i in ids if i != EOS)


@dataclass
class FakeSampler:
    params: SamplingParams
    eos_ids: tuple[int, ...]
    drawn: int = 0
    seen: int = 0
    mask: TokenMask | None = None  # of the next token

    def allow(self, words: TokenMask) -> None:
        self.mask = words

    def observe(self, tokens: Sequence[int]) -> None:
        self.seen += len(tokens)

    def force(self, tokens: Sequence[int]) -> None:
        self.seen += len(tokens)

    def draw(self, state: int, vocab_size: int, eos_rate: float) -> int:
        if self.params.temperature > 0.0:
            state = _mix(_mix(state, self.params.seed or 0), self.drawn * 31 + self.seen)
        self.drawn += 1
        if (state >> 20) % 1000 < eos_rate * 1000 and self.drawn > self.params.min_tokens:
            return EOS
        return 1 + (state >> 7) % (vocab_size - 1)


def _mix(state: int, value: int) -> int:
    return (state * 6364136223846793005 + value * 2862933555777941757 + 3037000493) & _MASK


class FakeBackend:
    """A backend on a FakeClock. `noise` multiplies each step's cost (1 by default). With `memory` a
    greedy token follows from so many tokens before it alone, in every gear: text repeats itself."""

    def __init__(
        self,
        clock: FakeClock,
        *,
        num_blocks: int = 64,
        block_size: int = 4,
        context_length: int = 256,
        vocab_size: int = len(ALPHABET),
        costs: dict[str, GearCost] | None = None,
        eos_rate: float = 0.02,
        noise: Callable[[], float] = lambda: 1.0,
        memory: int | None = None,
    ) -> None:
        self.clock = clock
        self.vocab_size = vocab_size
        self.context_length = context_length
        self.block_size = block_size
        self.num_blocks = num_blocks
        self.costs = costs or COSTS
        self.gears = tuple(Gear(name, 4 if name == "4" else 8) for name in self.costs)
        self.kv_block_bytes = 1024
        self.leaves_steps = False
        self.eos_rate = eos_rate
        self.noise = noise
        self.memory = memory
        self.poison: Callable[[BatchRow], bool] = lambda row: False
        self.batches: list[Batch] = []
        self.closed = False
        self._cells: list[list[tuple[int, str] | None]] = [
            [None] * block_size for _ in range(num_blocks)
        ]

    def latency(self) -> LatencyModel:
        return LatencyModel(self.costs)

    def sampler(self, params: SamplingParams, *, eos_ids: tuple[int, ...]) -> FakeSampler:
        return FakeSampler(params, eos_ids)

    def forward(self, batch: Batch) -> BatchResult:
        assert len(batch.rows) >= 1
        assert batch.max_steps == 1 or all(row.sampler is not None for row in batch.rows)
        self._check_tables(batch)
        self.batches.append(batch)
        if any(self.poison(row) for row in batch.rows):
            raise RuntimeError("poisoned row")
        results = [RowResult() for _ in batch.rows]
        step_ms: list[float] = []
        new = [list(map(int, row.tokens)) for row in batch.rows]
        ends = [row.start for row in batch.rows]
        cost = self.costs[batch.gear.name]
        for step in range(batch.max_steps):
            late = batch.until_ns is not None and self.clock.now_ns() > batch.until_ns
            if late and step > 0:
                break
            ms = self._cost_ms(cost, batch, ends, new) * self.noise()
            self.clock.advance_ms(ms)
            step_ms.append(ms)
            stopped = False
            for i, row in enumerate(batch.rows):
                self._write(row, ends[i], new[i], batch.gear.name)
                if row.drafted and step == 0:
                    stopped |= self._check(row, results[i], batch.gear)
                    ends[i] += len(results[i].tokens)
                    new[i] = results[i].tokens[-1:]
                    continue
                ends[i] += len(new[i])
                if row.prompt_logprobs and step == 0:
                    follow = [*new[i][1:], row.next_token]
                    results[i].prompt_logprobs += [-float(t) for t in follow if t is not None]
                if row.sampler is None:
                    continue
                new[i] = [self._draw(row, results[i], ends[i], batch.gear)]
                stopped |= new[i][0] in row.stop_ids
            if stopped:
                break
        return BatchResult(results, step_ms, cpu_ms=2 * sum(step_ms), bytes_read=100 * len(step_ms))

    def _draw(self, row: BatchRow, result: RowResult, end: int, gear: Gear) -> int:
        state = self._state(row, end)
        if self.memory is None:
            state = _mix(state, hash(gear.width))
        assert row.sampler is not None
        token: int = row.sampler.draw(state, self.vocab_size, self.eos_rate)  # type: ignore[attr-defined]
        result.tokens.append(token)
        if row.statistics:
            result.logprobs.append(-(state % 100) / 10)
            result.entropies.append(1.0)
            result.margins.append(0.5)
        if row.top_logprobs:
            result.top.append([(token, -0.1)] * row.top_logprobs)
        return token

    def _check(self, row: BatchRow, result: RowResult, gear: Gear) -> bool:
        """Draw along a draft as far as it is right, and one more; whether a stop id was drawn."""
        for i in range(len(row.tokens)):
            token = self._draw(row, result, row.start + i + 1, gear)
            if token in row.stop_ids:
                return True
            if i + 1 < len(row.tokens) and token != row.tokens[i + 1]:
                break
        return False

    def logits(self, batch: Batch) -> Float32Array:
        raise NotImplementedError

    def bytes_per_token(self, gear: Gear) -> int:
        return gear.width * 1000

    def close(self) -> None:
        self.closed = True

    def _cost_ms(
        self, cost: GearCost, batch: Batch, ends: list[int], new: list[list[int]]
    ) -> float:
        if batch.rows[0].drafted:
            count = len(batch.rows[0].tokens)
            return cost.p_ms * sum(ends) * count + cost.q_ms * cost.factor(count)
        # A prompt's last token alone looks like a step; its sampler has not drawn yet.
        prompt = batch.max_steps == 1 and any(
            row.sampler is None or row.sampler.drawn == 0  # type: ignore[attr-defined]
            for row in batch.rows
        )
        if prompt or any(len(tokens) > 1 for tokens in new):
            tokens = sum(map(len, new))
            squares = sum((e + len(n)) ** 2 - e**2 for e, n in zip(ends, new, strict=True))
            return cost.a_ms + cost.b_ms * tokens + cost.c_ms * squares
        return cost.p_ms * sum(ends) + cost.q_ms * cost.factor(len(batch.rows))

    def _check_tables(self, batch: Batch) -> None:
        written: set[int] = set()
        for row in batch.rows:
            end = row.start + len(row.tokens) + batch.max_steps - 1
            first, last = row.start // self.block_size, (end - 1) // self.block_size
            assert last < len(row.block_table), "the block table does not cover the steps"
            mine = {int(block) for block in row.block_table[first : last + 1]}
            assert not mine & written, "two rows write the same block"
            written |= mine
            assert end <= self.context_length + batch.max_steps

    def _write(self, row: BatchRow, start: int, tokens: list[int], gear: str) -> None:
        for i, token in enumerate(tokens, start):
            block = int(row.block_table[i // self.block_size])
            self._cells[block][i % self.block_size] = (token, gear)

    def _state(self, row: BatchRow, end: int) -> int:
        state = 1
        for i in range(end):
            cell = self._cells[int(row.block_table[i // self.block_size])][i % self.block_size]
            assert cell is not None, f"position {i} was never computed"
            if self.memory is None:
                state = _mix(_mix(state, cell[0]), len(cell[1]) * 64 + ord(cell[1][0]))
            elif i >= end - self.memory:
                state = _mix(state, cell[0])
        return state


def _is_backend(backend: FakeBackend) -> Backend:
    return backend


def jitter(seed: int, spread: float = 0.02) -> Callable[[], float]:
    """Lognormal noise around 1."""
    rng = random.Random(seed)
    return lambda: math.exp(rng.gauss(0.0, spread))


def prompt(seed: int, length: int) -> tuple[int, ...]:
    """A prompt of ordinary tokens."""
    rng = np.random.default_rng(seed)
    return tuple(int(t) for t in rng.integers(1, len(ALPHABET), length))


def engine_over(backend: FakeBackend, **options: object) -> Engine:
    """An engine that believes in the backend's costs, on its clock."""
    return Engine(
        backend,
        backend.clock,
        latency=backend.latency(),
        cache_key=b"test",
        **{"eos_ids": (EOS,), "decode_text": decode_text, **options},  # type: ignore[arg-type]
    )


def drain(engine: Engine) -> list[Delta]:
    """Step until nothing is left to do."""
    deltas: list[Delta] = []
    for _ in range(10_000):
        if not engine.has_work:
            return deltas
        deltas += engine.step()
    raise AssertionError("the engine does not come to an end")
