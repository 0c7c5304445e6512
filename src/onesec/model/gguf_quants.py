"""GGUF's block formats: how many bytes a block has, and its values as float32.

It must not know files. Layouts: ggml's ggml-common.h; a block covers consecutive weights of a row.
All functions take uint8 [blocks, block bytes] and give float32 [blocks, block weights].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
_CHUNK_WEIGHTS = 1 << 22  # decoded at a time: temporaries stay in tens of megabytes


@dataclass(frozen=True, slots=True)
class BlockFormat:
    """`weights` of a row share `nbytes` bytes; decode gives their values."""

    name: str
    weights: int
    nbytes: int
    decode: Callable[[Bytes], Float32]


def _half(blocks: Bytes, at: int) -> Float32:
    """float16 at byte `at` of every block, as float32 [blocks, 1]."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def _nibbles(packed: Bytes) -> Bytes:
    """[..., n] bytes -> [..., 2n]: all low nibbles, then all high ones."""
    return np.concatenate((packed & 15, packed >> 4), axis=-1)


def _q4_0(blocks: Bytes) -> Float32:
    codes = _nibbles(blocks[:, 2:18]).astype(np.int8) - np.int8(8)
    return _half(blocks, 0) * codes.astype(np.float32)


def _q4_1(blocks: Bytes) -> Float32:
    codes = _nibbles(blocks[:, 4:20]).astype(np.float32)
    return _half(blocks, 0) * codes + _half(blocks, 2)


def _q8_0(blocks: Bytes) -> Float32:
    return _half(blocks, 0) * blocks[:, 2:34].view(np.int8).astype(np.float32)


def _k_scales(packed: Bytes) -> tuple[Float32, Float32]:
    """12 bytes -> eight 6-bit scales and eight 6-bit minima, each [blocks, 8, 1]."""
    first, second, third = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate((first & 63, (third & 15) | (first >> 6) << 4), axis=1)
    minima = np.concatenate((second & 63, (third >> 4) | (second >> 6) << 4), axis=1)
    return scales.astype(np.float32)[..., None], minima.astype(np.float32)[..., None]


def _k_affine(blocks: Bytes, codes: npt.NDArray[Any]) -> Float32:
    """d * scale * code - dmin * minimum; `codes` [blocks, 8, 32]."""
    scales, minima = _k_scales(blocks[:, 4:16])
    step = _half(blocks, 0)[..., None] * scales
    shift = _half(blocks, 2)[..., None] * minima
    values: Float32 = step * codes.astype(np.float32) - shift
    return values.reshape(len(blocks), 256)


def _q4_k(blocks: Bytes) -> Float32:
    packed = blocks[:, 16:144].reshape(-1, 4, 32)  # each 32 bytes hold 64 weights
    return _k_affine(blocks, _nibbles(packed).reshape(-1, 8, 32))


def _q5_k(blocks: Bytes) -> Float32:
    low = _nibbles(blocks[:, 48:176].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    bit = np.arange(8, dtype=np.uint8)[:, None]  # bit j of byte l is the fifth of group j's l-th
    high = (blocks[:, None, 16:48] >> bit & 1) << 4
    return _k_affine(blocks, low | high)


def _q6_k(blocks: Bytes) -> Float32:
    # Two halves of 128 weights: 64 bytes of low nibbles, 32 of upper bit pairs, 8 scales each.
    low = _nibbles(blocks[:, :128].reshape(-1, 2, 64)).reshape(-1, 2, 4, 32)
    shift = np.array([0, 2, 4, 6], dtype=np.uint8)[:, None]
    high = (blocks[:, 128:192].reshape(-1, 2, 1, 32) >> shift & 3) << 4
    codes = (low | high).astype(np.int8) - np.int8(32)
    scales = blocks[:, 192:208].view(np.int8).astype(np.float32)
    step = (_half(blocks, 208) * scales)[..., None]
    values: Float32 = step * codes.reshape(-1, 16, 16).astype(np.float32)
    return values.reshape(len(blocks), 256)


# ggml type id -> format. Ids and sizes: ggml.h, ggml-common.h.
BLOCK_FORMATS = {
    2: BlockFormat("q4_0", 32, 18, _q4_0),
    3: BlockFormat("q4_1", 32, 20, _q4_1),
    8: BlockFormat("q8_0", 32, 34, _q8_0),
    12: BlockFormat("q4_k", 256, 144, _q4_k),
    13: BlockFormat("q5_k", 256, 176, _q5_k),
    14: BlockFormat("q6_k", 256, 210, _q6_k),
}


def dequantize(kind: BlockFormat, data: Bytes) -> Float32:
    """float32 [weights] of `data`, uint8 [bytes], a whole number of blocks (else ValueError).

    >>> dequantize(BLOCK_FORMATS[8], np.zeros(34, np.uint8)).shape
    (32,)
    """
    blocks = data.reshape(-1, kind.nbytes)
    values = np.empty((len(blocks), kind.weights), dtype=np.float32)
    step = _CHUNK_WEIGHTS // kind.weights
    for at in range(0, len(blocks), step):
        values[at : at + step] = kind.decode(blocks[at : at + step])
    return values.reshape(-1)
