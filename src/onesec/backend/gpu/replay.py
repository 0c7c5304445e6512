"""Replay: a decode step of up to 16 rows with tensors that never move, captured as a CUDA graph.

A step reads its tokens, positions and tables from fixed memory and leaves there what the next step
reads, so that steps follow one another without the host. On other devices the same step is run
eagerly. It must not know models, gears or samplers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from onesec.backend.sampling import Drawn

from .capture import capture
from .ops import Picked, Steps

SIZES = (1, 2, 4, 8, 16)  # rows a graph is captured for
Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class StepRow:
    """One token to run: at `position` of the sequence with this block table (int32)."""

    token: int
    position: int
    table: Int32Array


@dataclass(frozen=True, slots=True)
class PickedRows:
    """Picked, in the host's memory; [n] each."""

    tokens: Int32Array
    logprobs: npt.NDArray[np.float32]
    entropies: npt.NDArray[np.float32]
    margins: npt.NDArray[np.float32]

    @classmethod
    def of(cls, found: Tensor) -> PickedRows:
        """A copy of Picked.packed, in the host's memory."""
        words = found.numpy()
        return cls(words[0].copy(), *(part.copy() for part in words[1:].view(np.float32)))

    def finite(self, i: int) -> bool:
        """Whether all logits of a row are: see Picked."""
        return math.isfinite(self.logprobs[i])

    def row(self, i: int) -> Drawn:
        """One row's, as a sampler tells a token."""
        told = (self.logprobs, self.entropies, self.margins)
        logprob, entropy, margin = (float(values[i]) for values in told)
        return int(self.tokens[i]), logprob, entropy, margin, []


def size_for(rows: int) -> int:
    """The smallest of SIZES that holds `rows`."""
    return next(size for size in SIZES if size >= rows)


def staged(*shape: int, device: torch.device) -> Tensor:
    """int32 zeros in the host's memory: pinned for a GPU, which copies them by itself."""
    pinned = device.type == "cuda"
    return torch.zeros(shape, dtype=torch.int32, device="cpu", pin_memory=pinned)


class StepReplay:
    """Runs steps of at most `size` rows.

    compute      Steps -> (float32 [size, vocab], Picked); it sets the Steps to the next ones
    table_blocks entries of a block table
    spare_block  a cache block that no sequence has: rows that are not used write there
    max_ahead    steps whose picks may wait in the host's memory

    step_ns, for whoever runs steps one after the other: how long the last one took (0: none did).
    """

    def __init__(
        self,
        compute: Callable[[Steps], tuple[Tensor, Picked]],
        size: int,
        *,
        table_blocks: int,
        spare_block: int,
        max_ahead: int,
        device: torch.device,
        pool: Any = None,
    ) -> None:
        self._compute, self._size, self._spare = compute, size, spare_block
        self.step_ns = 0
        self._cuda = device.type == "cuda"
        length = size * (2 + table_blocks)
        self._staged = staged(length, device=device)
        self._host = self._staged.numpy()
        self._inputs = torch.zeros(length, dtype=torch.int32, device=device)
        self._steps = Steps(
            self._inputs[:size],
            self._inputs[size : 2 * size],
            self._inputs[2 * size :].view(size, table_blocks),
        )
        self._found = staged(max_ahead, 4, size, device=device)
        self._ready = [torch.cuda.Event() for _ in range(max_ahead)] if self._cuda else []
        self._graph: torch.cuda.CUDAGraph | None = None
        self.load([])
        if self._cuda:
            self._graph = capture(self._step, lambda: self.load([]), device, pool)

    def _step(self) -> None:
        self.logits, picked = self._compute(self._steps)
        self._out = picked.packed

    def load(self, rows: Sequence[StepRow]) -> None:
        """Set what the next step runs; at most `size` rows."""
        size, host = self._size, self._host
        tokens, positions = host[:size], host[size : 2 * size]
        tables = host[2 * size :].reshape(size, -1)
        tokens[:], positions[:] = 0, 0
        tables[:] = self._spare
        for i, row in enumerate(rows):
            tokens[i], positions[i] = row.token, row.position
            count = min(len(row.table), tables.shape[1])
            tables[i, :count] = row.table[:count]
        self._inputs.copy_(self._staged, non_blocking=True)

    def replay(self) -> None:
        """Begin the step that `load`, or the step before, has prepared."""
        if self._graph is not None:
            self._graph.replay()
        else:
            self._step()

    def launch(self, slot: int) -> None:
        """As replay; what it picks goes to `slot`."""
        self.replay()
        self._found[slot].copy_(self._out, non_blocking=True)
        if self._cuda:
            self._ready[slot].record()

    def wait(self, slot: int) -> PickedRows:
        """What the step of this slot picked."""
        if self._cuda:
            self._ready[slot].synchronize()
        return PickedRows.of(self._found[slot])
