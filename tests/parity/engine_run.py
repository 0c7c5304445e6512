"""Sequences through a Backend: logits of known tokens and greedy answers, chunked, side by side.

It must not know which backend it drives. Block tables are scattered over the cache on purpose, so
that position and place in memory never agree by luck.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from onesec.backend.base import Backend, Batch, BatchRow
from onesec.core.gear import Gear
from onesec.core.request import SamplingParams

Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]


def block_tables(backend: Backend, lengths: Sequence[int]) -> list[Int32Array]:
    """A table a sequence: blocks dealt out in turn, from the last block of the cache down."""
    needs = [-(-length // backend.block_size) for length in lengths]
    free = list(range(backend.num_blocks))
    tables: list[list[int]] = [[] for _ in needs]
    for turn in range(max(needs)):
        for table, need in zip(tables, needs, strict=True):
            if turn < need:
                table.append(free.pop())
    return [np.array(table, dtype=np.int32) for table in tables]


def tell(
    backend: Backend, gear: Gear, sequences: Sequence[Int32Array], *, chunk: int | None = None
) -> list[Float32Array]:
    """float32 [n, vocab] for each sequence: logits after each of its tokens (int32 [n]).

    All sequences share each batch, `chunk` tokens at a time (None: all at once).
    """
    tables = block_tables(backend, [len(tokens) for tokens in sequences])
    found: list[list[Float32Array]] = [[] for _ in sequences]
    longest = max(len(tokens) for tokens in sequences)
    step = chunk or longest
    for start in range(0, longest, step):
        rows, owners = [], []
        for i, tokens in enumerate(sequences):
            part = np.ascontiguousarray(tokens[start : start + step])
            if len(part):
                rows.append(BatchRow(tokens=part, start=start, block_table=tables[i]))
                owners.append(i)
        logits = backend.logits(Batch(gear=gear, rows=rows, exact=True))
        ends = np.cumsum([len(row.tokens) for row in rows])
        for i, part_logits in zip(owners, np.split(logits, ends[:-1]), strict=True):
            found[i].append(part_logits)
    return [np.concatenate(parts) for parts in found]


def pooled(
    backend: Backend, gear: Gear, tokens: Int32Array
) -> list[tuple[npt.NDArray[np.float64], slice]]:
    """Sums of hidden states, each with the positions it is over: of a sequence in two chunks, of
    one beside it and beside a row that draws, and of a lone token."""
    whole, part, drawing, lone = block_tables(backend, [len(tokens), 29, 29, 1])
    sampler = backend.sampler(SamplingParams(), eos_ids=())
    first = [
        BatchRow(tokens[:37], 0, whole, pooled=True),
        BatchRow(tokens[:29], 0, drawing, sampler=sampler),
        BatchRow(tokens[:29], 0, part, pooled=True),
    ]
    begun, drew, beside = backend.forward(Batch(gear, first)).rows
    assert not drew.hidden
    assert drew.tokens
    assert not begun.tokens
    rest = Batch(gear, [BatchRow(tokens[37:], 37, whole, pooled=True)])
    single = Batch(gear, [BatchRow(tokens[:1], 0, lone, pooled=True)])
    return [
        (np.array(row.hidden), positions)
        for row, positions in (
            (begun, slice(37)),
            (beside, slice(29)),
            (backend.forward(rest).rows[0], slice(37, None)),
            (backend.forward(single).rows[0], slice(1)),
        )
    ]


def answer(
    backend: Backend,
    gear: Gear,
    prompts: Sequence[Int32Array],
    count: int,
    *,
    chunk: int | None = None,
    max_steps: int = 1,
) -> list[list[int]]:
    """The `count` tokens that follow each prompt greedily, end tokens ignored.

    Prompts of one length, all in one batch, `chunk` tokens at a time; then `max_steps` decode steps
    a call.
    """
    length = len(prompts[0])
    tables = block_tables(backend, [length + count] * len(prompts))
    params = SamplingParams(temperature=0.0)
    samplers = [backend.sampler(params, eos_ids=()) for _ in prompts]
    step = chunk or length
    drawn: list[list[int]] = [[] for _ in prompts]
    for start in range(0, length, step):
        stop = min(start + step, length)
        rows = [
            BatchRow(
                tokens=np.ascontiguousarray(prompt[start:stop]),
                start=start,
                block_table=table,
                sampler=sampler if stop == length else None,
            )
            for prompt, table, sampler in zip(prompts, tables, samplers, strict=True)
        ]
        result = backend.forward(Batch(gear=gear, rows=rows))
    _extend(drawn, [row.tokens for row in result.rows])
    while len(drawn[0]) < count:
        rows = [
            BatchRow(
                tokens=np.array([tokens[-1]], dtype=np.int32),
                start=length + len(tokens) - 1,
                block_table=table,
                sampler=sampler,
            )
            for tokens, table, sampler in zip(drawn, tables, samplers, strict=True)
        ]
        steps = min(max_steps, count - len(drawn[0]))
        result = backend.forward(Batch(gear=gear, rows=rows, max_steps=steps))
        _extend(drawn, [row.tokens for row in result.rows])
    return drawn


def _extend(drawn: list[list[int]], new: list[list[int]]) -> None:
    for tokens, more in zip(drawn, new, strict=True):
        tokens.extend(more)
