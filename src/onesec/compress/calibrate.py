"""Calibrate: what each matrix reads while the model reads text, and 4-bit codes that suit it.

Every group of 32 weights has a few dozen grids (a scale and a minimum) on which `hi` with `lo` is
plain 8-bit rounding; they differ in the errors of `hi` alone. With the products E[x xᵀ] of a
matrix's inputs the engine takes the grids whose errors cancel best in the matrix's output. Error
compensation (GPTQ, 2210.17323) moves codes to that end, which a residual of 4 bits cannot follow.
It must not know files, or what text is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onesec.backend.base import Batch, BatchRow, Float32Array
from onesec.backend.cpu import CpuBackend
from onesec.core.gear import UNIFORM, Gear

from .evaluate import Estimate, Subject, measure, windows
from .sensitivity import WINDOW_TOKENS

DEFAULT_TOKENS = 4096  # twice as many gain 2 % of the divergence, a quarter of them lose 8 to 9 %
_DAMPING = 0.02  # of the mean square of the inputs, added to each: for text that was not seen
_CHECK_TOKENS = 1024  # on which calibrated planes are compared with those before

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What calibration on `tokens` tokens brought: the mean divergence of the 4-bit gear from the
    reference before and after, nats a token; `kept` is False where the planes were better before.
    """

    tokens: int
    before: Estimate
    after: Estimate
    kept: bool


def calibrate(
    backend: CpuBackend,
    reference: Gear,
    tokens: Sequence[int],
    check: Sequence[int],
    *,
    reading: Progress | None = None,
    packing: Progress | None = None,
) -> Calibration:
    """Pack the backend's planes anew so that they suit what its matrices read in `tokens`; keep
    them where the 4-bit gear is the better for it on `check` (other text).

    The backend must have been loaded from a checkpoint, with its reference. Memory: 512 floats for
    each column of each matrix. Deterministic, whatever the number of threads.
    """
    before = _divergence(backend, reference, check)
    repack(backend, tokens, reading=reading, packing=packing)
    after = _divergence(backend, reference, check)
    kept = after.value < before.value
    if not kept:
        for name in backend.matrix_names:
            backend.repack(name, None)
    return Calibration(len(tokens), before, after, kept)


def repack(
    backend: CpuBackend,
    tokens: Sequence[int],
    *,
    reading: Progress | None = None,
    packing: Progress | None = None,
) -> None:
    """Read `tokens` at 8 bits (the products of inputs lie within 2 % of the reference's, and it is
    quicker) and pack every matrix for what it read. What was never read (an embedding with a head
    of its own) stays."""
    parts = list(windows(tokens, min(WINDOW_TOKENS, backend.context_length)))
    count = sum(len(part) for part in parts)
    with backend.watching():
        for done, part in enumerate(parts):
            blocks = -(-len(part) // backend.block_size)
            table = np.arange(blocks, dtype=np.int32)
            backend.logits(Batch(UNIFORM[8], [BatchRow(part, 0, table)], exact=True))
            if reading is not None:
                reading((done + 1) / len(parts))
        for done, name in enumerate(backend.matrix_names):
            sums = backend.moments(name)
            if sums.any():
                backend.repack(name, gram(sums, count))
            if packing is not None:
                packing((done + 1) / len(backend.matrix_names))


def gram(sums: Float32Array, count: int) -> Float32Array:
    """E[x xᵀ] + damping, [blocks, size, size], of the upper triangles of the sums over `count`
    tokens.

    >>> gram(np.array([[[8.0, 4.0], [0.0, 0.0]]], np.float32), 4).astype(float).round(2).tolist()
    [[[2.04, 1.0], [1.0, 0.04]]]
    """
    upper = np.triu(sums)
    whole = upper + np.triu(sums, 1).swapaxes(1, 2)
    whole /= np.float32(count)
    diagonal = np.einsum("bii->bi", whole)
    used = max(1, np.count_nonzero(diagonal))
    diagonal += _DAMPING * diagonal.sum(dtype=np.float64) / used
    return np.ascontiguousarray(whole)


def _divergence(backend: CpuBackend, reference: Gear, check: Sequence[int]) -> Estimate:
    (quality,), _ = measure(
        [Subject(backend, UNIFORM[4])],
        check[:_CHECK_TOKENS],
        window=min(WINDOW_TOKENS, backend.context_length),
        reference=Subject(backend, reference),
    )
    assert quality.divergence is not None
    return quality.divergence.kld_mean
