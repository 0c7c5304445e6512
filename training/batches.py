"""Batches for the trainer, made ahead of it by a thread: documents of like length, side by side.

Shards are read as they appear in a folder, so training may begin while text is still being made.
It must not know what the text says, or what a model is.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .data import TokenData

POOL = 8  # shards whose documents are sorted by length together
SHORT = (128, 224)  # the training opens with documents up to these lengths
ROUND = 16  # widths are multiples of it
AHEAD = 6  # batches that wait for the trainer


@dataclass(frozen=True)
class BatchConfig:
    """How documents become batches: about `tokens` in each, shuffled by `seed`.

    Every token that the assistant speaks is learned, and a random `prompt_share` of the others.
    """

    tokens: int
    seed: int
    prompt_share: float
    patience_s: float = 120.0


Batch = tuple[Tensor, Tensor, Tensor]


def pools(folder: Path, seed: int, patience_s: float) -> Iterator[TokenData]:
    """Text without end: shards that were not seen yet, and where they are few some of the others.

    Raises FileNotFoundError where no shard appears within `patience_s`.
    """
    rng = np.random.default_rng((seed, 1))
    seen: list[Path] = []
    asked = time.monotonic()
    while True:
        known = set(seen)
        fresh = sorted(path for path in folder.glob("*.npz") if path not in known)[:POOL]
        if not fresh and not seen:
            if time.monotonic() - asked > patience_s:
                raise FileNotFoundError(f"no *.npz in {folder} after {patience_s:.0f} s")
            time.sleep(0.05)
            continue
        # Too few new ones would make batches of unlike length: old ones join them.
        old = [seen[i] for i in rng.permutation(len(seen))[: POOL - len(fresh)]]
        seen += fresh
        chosen = fresh + old
        yield TokenData.joined([TokenData.load(path) for path in chosen])


def plan(
    lengths: NDArray[np.int64], tokens: int, rng: np.random.Generator, opening: bool
) -> list[NDArray[np.int64]]:
    """The documents in batches of about `tokens`, in random order; `opening`: short ones first."""
    order = rng.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    widths = lengths[order].tolist()
    batches: list[NDArray[np.int64]] = []
    first = 0
    for last in range(1, len(order) + 1):
        # Sorted: the next document is the longest so far, and sets the width of all.
        if last == len(order) or (last + 1 - first) * widths[last] > tokens:
            batches.append(order[first:last])
            first = last
    # A last document alone joins those before it: one row would be compiled anew.
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [np.concatenate(batches[-2:])]
    shuffled = [batches[i] for i in rng.permutation(len(batches))]
    if opening:
        shuffled.sort(key=lambda batch: sum(int(lengths[batch[-1]] > limit) for limit in SHORT))
    return shuffled


def fill(
    data: TokenData, batch: NDArray[np.int64], share: float, rng: np.random.Generator
) -> Batch:
    """Inputs [rows, width], the flat positions that are learned from, and their targets."""
    starts = data.starts[batch][:, None]
    lengths = data.starts[batch + 1][:, None] - starts
    width = -(-(int(lengths.max()) - 1) // ROUND) * ROUND
    places = np.arange(width)[None]
    inside = places < lengths - 1
    at = np.where(inside, starts + places, 0)
    inputs = np.where(inside, data.tokens[at], 0)
    after = np.where(inside, at + 1, 0)
    spoken = data.spoken[after] > 0
    flat = np.flatnonzero(inside & (spoken | (rng.random(at.shape, np.float32) < share)))
    targets = data.tokens[after.reshape(-1)[flat]]
    return (
        torch.from_numpy(inputs.astype(np.int64)),
        torch.from_numpy(flat),
        torch.from_numpy(targets.astype(np.int64)),
    )


def batches(folder: Path, config: BatchConfig, first: int = 0) -> Iterator[Batch]:
    """Batches without end, from number `first` on: the same for the same shards and seed."""
    number = 0
    rng = np.random.default_rng((config.seed, 0))
    for data in pools(folder, config.seed, config.patience_s):
        planned = plan(np.diff(data.starts), config.tokens, rng, opening=number == 0)
        for batch in planned:
            if number >= first:
                draw = np.random.default_rng((config.seed, 2, number))
                yield fill(data, batch, config.prompt_share, draw)
            number += 1


class Ahead:
    """Takes items from an iterator in a thread of its own, a few ahead of whoever asks.

    An error in the thread is raised where the next item is asked for. `device`: moves them there.
    """

    def __init__(self, items: Iterator[Batch], device: torch.device) -> None:
        self._device = device
        self._queue: queue.Queue[Batch | BaseException] = queue.Queue(AHEAD)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(items,), daemon=True)
        self._thread.start()

    def _put(self, item: Batch | BaseException) -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue
            return

    def _run(self, items: Iterator[Batch]) -> None:
        try:
            for item in items:
                pinned: Sequence[Tensor] = item
                if self._device.type == "cuda":
                    pinned = [tensor.pin_memory() for tensor in item]
                self._put((pinned[0], pinned[1], pinned[2]))
                if self._stopped.is_set():
                    return
        except BaseException as error:  # it is raised again in `take`
            self._put(error)

    def take(self) -> Batch:
        """The next batch, on the device; copies from pinned memory need not wait."""
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        inputs, where, targets = (tensor.to(self._device, non_blocking=True) for tensor in item)
        return inputs, where, targets

    def close(self) -> None:
        """Let the thread end."""
        self._stopped.set()
        self._thread.join()
