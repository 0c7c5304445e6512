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
_TWO_BITS = np.array([[0], [2], [4], [6]], dtype=np.uint8)
_IQ4_VALUES = np.array(  # what the codes of IQ4_NL and IQ4_XS stand for
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], dtype=np.float32
)
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


def _fifth_bits(blocks: Bytes, at: int) -> Bytes:
    """Four bytes at `at`: bit i belongs to weight i. uint8 [blocks, 32], each 0 or 16."""
    bits: Bytes = np.unpackbits(blocks[:, at : at + 4], axis=1, bitorder="little")
    return bits * np.uint8(16)


def _q5_0(blocks: Bytes) -> Float32:
    codes = (_nibbles(blocks[:, 6:22]) | _fifth_bits(blocks, 2)).astype(np.int8) - np.int8(16)
    return _half(blocks, 0) * codes.astype(np.float32)


def _q5_1(blocks: Bytes) -> Float32:
    codes = (_nibbles(blocks[:, 8:24]) | _fifth_bits(blocks, 4)).astype(np.float32)
    return _half(blocks, 0) * codes + _half(blocks, 2)


def _iq4_nl(blocks: Bytes) -> Float32:
    return _half(blocks, 0) * _IQ4_VALUES[_nibbles(blocks[:, 2:18])]


def _pairs(packed: Bytes) -> Bytes:
    """[blocks, 64] bytes of four 2-bit codes -> [blocks, 16, 16], by 16 consecutive weights.

    32 bytes hold 128 weights: the lowest bits of all of them the first 32, and so on.
    """
    codes: Bytes = packed.reshape(-1, 2, 1, 32) >> _TWO_BITS & np.uint8(3)
    return codes.reshape(-1, 16, 16)


def _q2_k(blocks: Bytes) -> Float32:
    # Low nibble of a group's byte: its step; high nibble: its minimum.
    step = (_half(blocks, 80) * (blocks[:, :16] & 15).astype(np.float32))[..., None]
    shift = (_half(blocks, 82) * (blocks[:, :16] >> 4).astype(np.float32))[..., None]
    values: Float32 = step * _pairs(blocks[:, 16:80]).astype(np.float32) - shift
    return values.reshape(len(blocks), 256)


def _q3_k(blocks: Bytes) -> Float32:
    # A third bit a weight, 4 taken off where it is clear; 16 scales of 6 bits, 32 taken off:
    # eight bytes of low nibbles, four of upper pairs.
    bit = np.arange(8, dtype=np.uint8)[:, None]  # bit j of byte l is of group j's l-th
    third = (~blocks[:, None, :32] >> bit & 1) << 2
    codes = _pairs(blocks[:, 32:96]).astype(np.int8) - third.reshape(-1, 16, 16).astype(np.int8)
    upper = (blocks[:, None, 104:108] >> _TWO_BITS & 3).reshape(-1, 16) << 4
    scales = (_nibbles(blocks[:, 96:104]) | upper).astype(np.int8) - np.int8(32)
    step = (_half(blocks, 108) * scales.astype(np.float32))[..., None]
    values: Float32 = step * codes.astype(np.float32)
    return values.reshape(len(blocks), 256)


def _iq4_xs(blocks: Bytes) -> Float32:
    # Eight groups of 32; scales of 6 bits, 32 taken off: upper pairs in two bytes, then nibbles.
    upper = (blocks[:, 2:4, None] >> _TWO_BITS[:, 0] & 3).reshape(-1, 8) << 4
    low = np.stack((blocks[:, 4:8] & 15, blocks[:, 4:8] >> 4), axis=-1).reshape(-1, 8)
    scales = (low | upper).astype(np.int8) - np.int8(32)
    step = (_half(blocks, 0) * scales.astype(np.float32))[..., None]
    values: Float32 = step * _IQ4_VALUES[_nibbles(blocks[:, 8:136].reshape(-1, 8, 16))]
    return values.reshape(len(blocks), 256)


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
    high = (blocks[:, 128:192].reshape(-1, 2, 1, 32) >> _TWO_BITS & 3) << 4
    codes = (low | high).astype(np.int8) - np.int8(32)
    scales = blocks[:, 192:208].view(np.int8).astype(np.float32)
    step = (_half(blocks, 208) * scales)[..., None]
    values: Float32 = step * codes.reshape(-1, 16, 16).astype(np.float32)
    return values.reshape(len(blocks), 256)


# ggml type id -> format. Ids and sizes: ggml.h, ggml-common.h.
BLOCK_FORMATS = {
    2: BlockFormat("q4_0", 32, 18, _q4_0),
    3: BlockFormat("q4_1", 32, 20, _q4_1),
    6: BlockFormat("q5_0", 32, 22, _q5_0),
    7: BlockFormat("q5_1", 32, 24, _q5_1),
    8: BlockFormat("q8_0", 32, 34, _q8_0),
    10: BlockFormat("q2_k", 256, 84, _q2_k),
    11: BlockFormat("q3_k", 256, 110, _q3_k),
    12: BlockFormat("q4_k", 256, 144, _q4_k),
    13: BlockFormat("q5_k", 256, 176, _q5_k),
    14: BlockFormat("q6_k", 256, 210, _q6_k),
    20: BlockFormat("iq4_nl", 32, 18, _iq4_nl),
    23: BlockFormat("iq4_xs", 256, 136, _iq4_xs),
}


def dequantize(kind: BlockFormat, data: Bytes) -> Float32:
    """float32 [weights] of `data`, uint8 [bytes], a whole number of blocks (else ValueError).

    Blocks whose scale is not finite give values that are not finite, without a warning.

    >>> dequantize(BLOCK_FORMATS[8], np.zeros(34, np.uint8)).shape
    (32,)
    """
    blocks = data.reshape(-1, kind.nbytes)
    values = np.empty((len(blocks), kind.weights), dtype=np.float32)
    step = _CHUNK_WEIGHTS // kind.weights
    with np.errstate(all="ignore"):
        for at in range(0, len(blocks), step):
            values[at : at + step] = kind.decode(blocks[at : at + step])
    return values.reshape(-1)
