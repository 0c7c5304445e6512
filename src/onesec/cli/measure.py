"""Measure: how fast a backend prefills and decodes, straight through `forward`, without the loop.

Prompts are random token ids, decoding is greedy and ignores end tokens, so that every run does the
same work. It must not know which backend it drives, nor what happens to the numbers.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from onesec.backend.base import Backend, Batch, BatchRow, Int32Array
from onesec.core.clock import Clock
from onesec.core.gear import UNIFORM, W8A16, Gear
from onesec.core.request import SamplingParams

PROMPT, NEW, LONG, SEQUENCES = 128, 128, 512, 8  # tokens, tokens, tokens, sequences
GREEDY = SamplingParams(ignore_eos=True)


def capacity_tokens(block_size: int = 64) -> int:
    """Cache that the whole workload needs, in tokens, with a block to spare for each sequence."""
    return max(LONG + NEW, SEQUENCES * (PROMPT + NEW + block_size))


@dataclass(slots=True)
class Samples:
    """Repeated measurements of one quantity; the median is what is reported."""

    values: list[float] = field(default_factory=list)

    def median(self) -> float:
        return statistics.median(self.values)

    def to_dict(self) -> dict[str, object]:
        """Median, extremes and all values, ready for JSON."""
        return {
            "median": self.median(),
            "min": min(self.values),
            "max": max(self.values),
            "values": list(self.values),
        }


def long_prompt(backend: Backend) -> int:
    """Tokens of the long prompt: 512, or what a shorter context leaves for it."""
    return min(LONG, backend.context_length - 1)


class Meter:
    """Times one gear of a backend on a clock; `seed` makes its prompts.

    >>> Meter(backend, gear, clock).decode_tokens_per_s()  # doctest: +SKIP
    97.3
    """

    def __init__(self, backend: Backend, gear: Gear, clock: Clock, *, seed: int = 0) -> None:
        self._backend = backend
        self._gear = gear
        self._clock = clock
        self._rng = np.random.default_rng(seed)
        self.bytes_per_step = 0.0  # of the last decoding: weights and cache, as the backend counts

    def ttft_s(self) -> float:
        """Seconds from a fresh long prompt to the first new token."""
        prompt = long_prompt(self._backend)
        (table,) = self._tables(1, prompt + 1)
        row = self._prompt_row(prompt, table)
        begin = self._clock.now_ns()
        self._backend.forward(Batch(gear=self._gear, rows=[row]))
        return (self._clock.now_ns() - begin) / 1e9

    def decode_tokens_per_s(
        self, *, prompt: int = PROMPT, new: int = NEW, sequences: int = 1
    ) -> float:
        """Tokens a second of all sequences together, between the first and the last new token."""
        tables = self._tables(sequences, prompt + new)
        rows = []
        for table in tables:
            row = self._prompt_row(prompt, table)
            result = self._backend.forward(Batch(gear=self._gear, rows=[row]))
            first = np.array(result.rows[0].tokens[-1:], dtype=np.int32)
            rows.append(BatchRow(first, prompt, table, sampler=row.sampler, statistics=False))
        done = read = 0
        begin = self._clock.now_ns()
        while done < new - 1:
            result = self._backend.forward(
                Batch(gear=self._gear, rows=rows, max_steps=new - 1 - done, exact=True)
            )
            done += len(result.step_ms)
            read += result.bytes_read
            for row, drawn in zip(rows, result.rows, strict=True):
                row.start += len(drawn.tokens)
                row.tokens = np.array(drawn.tokens[-1:], dtype=np.int32)
        elapsed_ns = self._clock.now_ns() - begin
        self.bytes_per_step = read / done
        return sequences * (new - 1) * 1e9 / elapsed_ns

    def _prompt_row(self, tokens: int, table: Int32Array) -> BatchRow:
        ids = self._rng.integers(0, self._backend.vocab_size, tokens, dtype=np.int32)
        sampler = self._backend.sampler(GREEDY, eos_ids=())
        return BatchRow(ids, 0, table, sampler=sampler, statistics=False)

    def _tables(self, sequences: int, tokens: int) -> list[Int32Array]:
        blocks = -(-tokens // self._backend.block_size)
        return list(np.arange(sequences * blocks, dtype=np.int32).reshape(sequences, blocks))


def finest(gears: Sequence[Gear]) -> tuple[Gear, ...]:
    """What 8 bits can do at best, which no planner would choose; () where a matrix lacks 8 bits.

    >>> [gear.name for gear in finest([UNIFORM[4], UNIFORM[8]])]
    ['w8a16']
    """
    return (W8A16,) if any(gear.name == UNIFORM[8].name for gear in gears) else ()


def named_gears(
    gears: Sequence[Gear], names: Iterable[str], *, beyond: Sequence[Gear] = ()
) -> list[Gear]:
    """The gears of these names, in the order of the names, also of those that a planner would not
    choose: `beyond`. Raises UnknownGear."""
    from onesec.core.errors import UnknownGear

    known = {gear.name: gear for gear in (*gears, *beyond)}
    wanted = list(names)
    for name in wanted:
        if name not in known:
            raise UnknownGear(name, tuple(known))
    return [known[name] for name in wanted]
