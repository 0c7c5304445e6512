"""Own text: what a model itself writes, as calibration text where none is given.

A model's own text has its languages, its format and its subjects; no other text is sure to.
It must not know what the text is used for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from onesec.backend.base import Backend, Batch, BatchRow
from onesec.core.gear import Gear
from onesec.core.request import SamplingParams

ROWS = 8  # sequences written at once


def own_text(
    backend: Backend,
    gear: Gear,
    start: Sequence[int],
    *,
    sequences: int,
    length: int,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> list[int]:
    """`sequences` texts of `length` tokens each, end to end, drawn at temperature 1 after the
    tokens of `start`; an end token does not end them. The cache must hold ROWS of them.
    """
    written: list[int] = []
    blocks = -(-length // backend.block_size)
    for first in range(0, sequences, ROWS):
        count = min(ROWS, sequences - first)
        rows = []
        for i in range(count):
            params = SamplingParams(temperature=1.0, seed=seed + first + i, ignore_eos=True)
            rows.append(
                BatchRow(
                    np.asarray(start, dtype=np.int32),
                    0,
                    np.arange(i * blocks, (i + 1) * blocks, dtype=np.int32),
                    sampler=backend.sampler(params, eos_ids=()),
                )
            )
        texts = [list(start) for _ in rows]
        while len(texts[0]) < length:
            left = length - len(texts[0])
            batch = Batch(gear, rows, max_steps=min(left, 32), exact=True)
            result = backend.forward(batch)
            for text, row, drawn in zip(texts, rows, result.rows, strict=True):
                row.start = len(text) + len(drawn.tokens) - 1
                text += drawn.tokens
                row.tokens = np.array(text[-1:], dtype=np.int32)
            if progress is not None:
                progress((first + count * len(texts[0]) / length) / sequences)
        written += [token for text in texts for token in text]
    return written
