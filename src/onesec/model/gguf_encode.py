"""Float matrices to GGUF's blocks: Q8_0 and Q4_0 by ggml's rounding, Q4_K by a search of its own.

It must not know files. All encoders take float32 [blocks, block weights] and give uint8 [blocks,
block bytes]; the layouts are those that gguf_quants.py decodes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .gguf_quants import BLOCK_FORMATS, BlockFormat

Bytes = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
_CHUNK_WEIGHTS = 1 << 20  # encoded at a time: the search holds a few times as many floats
_SUPER = 63.0  # steps and minima of Q4_K are 6-bit multiples of two floats a block
_SHRINKS = np.linspace(1.0, 0.8, 9, dtype=np.float32)  # ranges tried for Q4_K, of the whole one


def _half(values: Float32) -> Bytes:
    """Little-endian float16 bytes [blocks, 2] of float32 [blocks, 1]."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values.astype("<f2")).view(np.uint8)


def _inverse(step: Float32) -> Float32:
    with np.errstate(divide="ignore", over="ignore"):
        inverse: Float32 = np.where(step == 0, np.float32(0), np.float32(1) / step)
    return inverse


def _nibble_pairs(codes: Bytes, width: int) -> Bytes:
    """[..., n] codes -> [..., n / 2]: of every `width` the first half low, the second high."""
    halves = codes.reshape(*codes.shape[:-1], -1, 2, width // 2)
    packed: Bytes = halves[..., 0, :] | halves[..., 1, :] << np.uint8(4)
    return packed.reshape(*codes.shape[:-1], -1)


def _q8_0(blocks: Float32) -> Bytes:
    step = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    scaled = blocks * _inverse(step)
    magnitude = np.abs(scaled)
    whole = np.floor(magnitude)
    rounded = whole + (magnitude - whole >= 0.5)  # halves away from zero, as roundf
    codes = np.copysign(rounded, scaled).astype(np.int8)
    return np.concatenate((_half(step), codes.view(np.uint8)), axis=1)


def _q4_0(blocks: Float32) -> Bytes:
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1, keepdims=True), axis=1)
    step = largest / np.float32(-8)  # so that the largest, with its sign, is code 0
    codes = (blocks * _inverse(step) + np.float32(8.5)).astype(np.uint8)
    return np.concatenate((_half(step), _nibble_pairs(np.minimum(codes, 15), 32)), axis=1)


def _affine(groups: Float32) -> tuple[Float32, Float32]:
    """Step and offset [..., 1] with which 0 to 15 fit [..., 32] best: w = step * code - offset.

    Several ranges are tried; for the codes that each gives the best step and offset are those of
    least squares, weighted by |w| and a root mean square so that large weights count for more (as
    ggml's make_qkx2_quants). Offsets are never below 0.
    """
    low = np.minimum(groups.min(axis=-1, keepdims=True), 0)
    span = np.maximum(groups.max(axis=-1, keepdims=True) - low, 0)
    weight = np.sqrt(np.mean(groups * groups, axis=-1, keepdims=True)) + np.abs(groups)
    sum_w = weight.sum(axis=-1, keepdims=True)
    sum_x = (weight * groups).sum(axis=-1, keepdims=True)
    best_step, best_offset = span / np.float32(15), -low
    best = np.full_like(span, np.inf)
    for shrink in _SHRINKS:
        guess = span * shrink / np.float32(15)
        codes = np.clip(np.rint((groups - low * shrink) * _inverse(guess)), 0, 15)
        sum_l = (weight * codes).sum(axis=-1, keepdims=True)
        sum_ll = (weight * codes * codes).sum(axis=-1, keepdims=True)
        sum_lx = (weight * codes * groups).sum(axis=-1, keepdims=True)
        step = (sum_w * sum_lx - sum_l * sum_x) * _inverse(sum_w * sum_ll - sum_l * sum_l)
        offset = (sum_l * step - sum_x) * _inverse(sum_w)
        # Without an offset where a negative one would be best.
        step = np.where(offset < 0, sum_lx * _inverse(sum_ll), step)
        offset = np.maximum(offset, 0)
        error = (weight * (step * codes - offset - groups) ** 2).sum(axis=-1, keepdims=True)
        better = (error < best) & (step > 0)
        best = np.where(better, error, best)
        best_step = np.where(better, step, best_step)
        best_offset = np.where(better, offset, best_offset)
    return best_step.astype(np.float32), best_offset.astype(np.float32)


def _q4_k(blocks: Float32) -> Bytes:
    groups = blocks.reshape(-1, 8, 32)
    step, offset = (values[..., 0] for values in _affine(groups))
    unit = [values.max(axis=1, keepdims=True) / np.float32(_SUPER) for values in (step, offset)]
    halves = [_half(values) for values in unit]
    unit = [half.view("<f2").astype(np.float32) for half in halves]
    steps, offsets = (
        np.clip(np.rint(values * _inverse(one)), 0, _SUPER).astype(np.uint8)
        for values, one in zip((step, offset), unit, strict=True)
    )
    # Where steps are below what float16 holds, nothing is left but zeros, offsets included.
    offsets[(unit[0][:, 0] == 0) & (step > 0).any(axis=1)] = 0
    real_step = (unit[0] * steps)[..., None]
    shifted = groups + (unit[1] * offsets)[..., None]
    codes = np.clip(np.rint(shifted * _inverse(real_step)), 0, 15).astype(np.uint8)
    # Twelve bytes: six bits each of steps and offsets 0 to 3, whose upper two bits hold those of
    # 4 to 7; then the lower four of these.
    scales = np.empty((len(blocks), 12), np.uint8)
    scales[:, :4] = steps[:, :4] | steps[:, 4:] >> 4 << 6
    scales[:, 4:8] = offsets[:, :4] | offsets[:, 4:] >> 4 << 6
    scales[:, 8:] = steps[:, 4:] & 15 | offsets[:, 4:] << 4
    packed = _nibble_pairs(codes.reshape(-1, 256), 64)
    return np.concatenate((*halves, scales, packed), axis=1)


_ENCODERS: dict[str, Callable[[Float32], Bytes]] = {"q8_0": _q8_0, "q4_0": _q4_0, "q4_k": _q4_k}
KIND_OF = {block.name: kind for kind, block in BLOCK_FORMATS.items() if block.name in _ENCODERS}


def block_format(name: str) -> BlockFormat:
    """The block format of that name, of those that are written: q8_0, q4_0, q4_k."""
    return BLOCK_FORMATS[KIND_OF[name]]


def encode(name: str, matrix: Float32) -> Bytes:
    """uint8 [rows, bytes a row] of a float32 matrix, in blocks of the named format.

    `matrix` is [rows, cols], finite, cols a multiple of the format's block. ValueError otherwise.

    >>> encode("q8_0", np.zeros((2, 64), np.float32)).shape
    (2, 68)
    """
    block = block_format(name)
    rows, cols = matrix.shape
    if cols % block.weights:
        raise ValueError(f"{cols} columns are not whole blocks of {block.weights}")
    row_bytes = cols // block.weights * block.nbytes
    out = np.empty((rows, row_bytes), np.uint8)
    step = max(_CHUNK_WEIGHTS // max(cols, 1), 1)
    for begin in range(0, rows, step):
        part = np.ascontiguousarray(matrix[begin : begin + step], dtype=np.float32)
        blocks = _ENCODERS[name](part.reshape(-1, block.weights))
        out[begin : begin + step] = blocks.reshape(len(part), row_bytes)
    return out
