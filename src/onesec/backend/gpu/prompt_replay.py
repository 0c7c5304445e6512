"""PromptReplay: a prompt's chunk of up to so many tokens with tensors that never move, captured as
a CUDA graph: from the tokens to what is drawn after the last of them.

On other devices the same is run eagerly. It must not know models, gears or samplers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .capture import capture
from .ops import Picked, Steps
from .replay import Int32Array, PickedRows, staged

# Tokens a graph is captured for. From 128 on every multiple of it: the tiles of the library's
# products are as tall, so rows that are not used cost little more than they would without a graph.
PROMPT_SIZES = (16, 32, 64, *range(128, 1025, 128))
_ALIGNED = 16  # int32 words: kernels are compiled for inputs that begin at such places


def prompt_size(tokens: int) -> int | None:
    """The smallest of PROMPT_SIZES that holds `tokens`; None: they are too many for a graph."""
    return next((size for size in PROMPT_SIZES if size >= tokens), None)


class PromptReplay:
    """Runs chunks of one sequence, at most `size` tokens each.

    compute      (Steps of `size` rows, which of them is the last that is used, int32 [1]) ->
                 (float32 [1, vocab], Picked): what follows that row
    table_blocks entries of a block table
    spare_block  a cache block that no sequence has: rows that are not used write there
    """

    def __init__(
        self,
        compute: Callable[[Steps, Tensor], tuple[Tensor, Picked]],
        size: int,
        *,
        table_blocks: int,
        spare_block: int,
        device: torch.device,
        pool: Any = None,
    ) -> None:
        self._compute, self._size, self._spare = compute, size, spare_block
        self._cuda = device.type == "cuda"
        width = -(-table_blocks // _ALIGNED) * _ALIGNED
        length = 2 * size + width + 1
        self._staged = staged(length, device=device)
        self._host = self._staged.numpy()
        self._inputs = torch.zeros(length, dtype=torch.int32, device=device)
        self._rows = torch.arange(size, dtype=torch.int32, device=device)[:, None]
        self._found = staged(4, 1, device=device)
        self._ready = torch.cuda.Event() if self._cuda else None
        self._graph: torch.cuda.CUDAGraph | None = None
        if self._cuda:
            nothing = np.zeros(1, np.int32)
            empty = np.full(1, spare_block, np.int32)
            self._graph = capture(self._work, lambda: self._load(nothing, 0, empty), device, pool)

    def _work(self) -> None:
        size = self._size
        table, last = self._inputs[2 * size : -1], self._inputs[-1:]
        steps = Steps(
            self._inputs[:size],
            self._inputs[size : 2 * size],
            table[None].masked_fill(self._rows > last, self._spare),
            runs=((0, size),),
        )
        self.logits, picked = self._compute(steps, last)
        self._out = picked.packed

    def _load(self, tokens: Int32Array, start: int, table: Int32Array) -> None:
        size, count, host = self._size, len(tokens), self._host
        host[: 2 * size] = 0
        host[:count] = tokens
        host[size : size + count] = np.arange(start, start + count)
        entries = host[2 * size : -1]
        entries[:] = self._spare
        known = min(len(table), len(entries))
        entries[:known] = table[:known]
        host[-1] = count - 1
        self._inputs.copy_(self._staged, non_blocking=True)

    def run(self, tokens: Int32Array, start: int, table: Int32Array) -> PickedRows:
        """What follows int32 [n] tokens at positions start, ... of the sequence with this block
        table (int32); `logits`, float32 [1, vocab], are there until any graph is run again."""
        self._load(tokens, start, table)
        if self._graph is not None:
            self._graph.replay()
        else:
            self._work()
        self._found.copy_(self._out, non_blocking=True)
        if self._ready is not None:
            self._ready.record()
            self._ready.synchronize()
        return PickedRows.of(self._found)
