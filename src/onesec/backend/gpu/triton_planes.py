"""Triton kernel: a matrix of nibble planes times a few rows of activations, weights read once.

A program owns some rows of the matrix and all of its columns; each warp walks its own columns.
The sums of a row are added in an order that the matrix's shape alone decides.
It must not know torch tensors, layers or models.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from .triton_parts import GATE, activations, finish, weights

# A nibble or a byte is set into the mantissa of a float with a known exponent: the float is then
# an offset plus the code, and the offset times sum(x) is taken off once for eight codes.
# The exponents are arguments, not constants: (v & mask) | register is one instruction.
WIDE_EXPONENT = 0x43800000  # code in bits 15..22: 256 + code
NARROW_EXPONENT = 0x41800000  # nibble in bits 19..22: 16 + code


@triton.jit
def moved(v, SHIFT: tl.constexpr):
    """v << SHIFT, or >> where it is negative."""
    return v << SHIFT if SHIFT > 0 else v >> -SHIFT


@triton.jit
def wide(v, exponent, SHIFT: tl.constexpr, MASK: tl.constexpr):
    """256 + the code that SHIFT brings to bit 15."""
    return ((moved(v, SHIFT) & MASK) | exponent).to(tl.float32, bitcast=True)


@triton.jit
def plane_words(hi_ptr, lo_ptr, scale_ptr, at, inside, WIDTH: tl.constexpr, EVEN: tl.constexpr):
    """Of superblocks `at` [1, W, T, 1]: hi (and lo), scales and minima, each [4 rows, T, W, 32]."""
    lane = tl.arange(0, 32)[:, None, None, None]
    row = tl.arange(0, 4)[None, None, None, :]
    place = lane * 4 + row
    hi = weights(hi_ptr + at * 144 + place, inside, EVEN)
    lo = hi
    if WIDTH == 8:
        lo = weights(lo_ptr + at * 128 + place, inside, EVEN)
    scale = scale_ptr + at * 576 + 512 + (lane // 16) * 16 + (lane % 4) * 4 + row
    scales = weights(scale, inside, EVEN)
    minima = weights(scale + 32, inside, EVEN)
    return (
        tl.permute(hi, (3, 2, 1, 0)),
        tl.permute(lo, (3, 2, 1, 0)),
        tl.permute(scales, (3, 2, 1, 0)),
        tl.permute(minima, (3, 2, 1, 0)),
    )


@triton.jit
def plane_product(
    hi_ptr, lo_ptr, scale_ptr, row_scale_ptr, x_ptr, gain_ptr, bias_ptr, out_ptr,
    n, cols, superblocks, tiles, half_tiles, out_cols, eps, wide_exponent, narrow_exponent,
    WIDTH: tl.constexpr, RMS: tl.constexpr, EPILOGUE: tl.constexpr, ACTIVATION: tl.constexpr,
    HAS_BIAS: tl.constexpr, EVEN: tl.constexpr, N: tl.constexpr, T: tl.constexpr, W: tl.constexpr,
    USE_PDL: tl.constexpr,
):  # fmt: skip
    """Of T tiles (in GATE: T / 2 of the gate and their like of the up) and N tokens.

    A warp takes a superblock at a time; lane 4j + q holds of line j the rows 4q..4q+3, so that its
    32 codes are 16 bytes and meet the same eight activations. Axes: [token, row, tile, warp, lane].
    """
    t = tl.arange(0, T)
    if EPILOGUE == GATE:
        tile = tl.program_id(0) * (T // 2) + t // 2 + (t % 2) * half_tiles
    else:
        tile = tl.program_id(0) * T + t
    tile4 = tile[None, None, :, None]
    superblock = tl.arange(0, W)[None, :, None, None]
    at = tile4 * superblocks + superblock
    whole = tile4 < tiles
    hi, lo, scales, minima = plane_words(
        hi_ptr, lo_ptr, scale_ptr, at, whole & (superblock < superblocks), WIDTH, EVEN
    )
    token = tl.program_id(1) * N + tl.arange(0, N)
    lane_col = (
        tl.arange(0, W)[None, :, None, None] * 64
        + (tl.arange(0, 32)[:, None, None, None] // 4) * 8
        + tl.arange(0, 4)[None, None, None, :]
    )
    acc = tl.zeros((N, 4, T, W, 32), tl.float32)
    squares = tl.zeros((N, W, 32), tl.float32)
    if USE_PDL:
        gdc_wait()
    for first in range(0, superblocks, W):
        col = first * 64 + lane_col
        x0, x1, x2, x3, squares = activations(
            x_ptr, gain_ptr, token[None, None, :, None], n, col, cols, squares,
            RMS, EVEN, N, W,
        )  # fmt: skip
        x4, x5, x6, x7, squares = activations(
            x_ptr, gain_ptr, token[None, None, :, None], n, col + 4, cols, squares,
            RMS, EVEN, N, W,
        )  # fmt: skip
        following = first + W
        if EVEN:
            following = tl.minimum(following, superblocks - W)
        next_hi, next_lo, next_scales, next_minima = plane_words(
            hi_ptr, lo_ptr, scale_ptr, at + following,
            whole & (following + superblock < superblocks), WIDTH, EVEN,
        )  # fmt: skip
        low = (x0 + x1) + (x2 + x3)
        high = (x4 + x5) + (x6 + x7)
        x0 = x0[:, None, None, :, :]
        x1 = x1[:, None, None, :, :]
        x2 = x2[:, None, None, :, :]
        x3 = x3[:, None, None, :, :]
        x4 = x4[:, None, None, :, :]
        x5 = x5[:, None, None, :, :]
        x6 = x6[:, None, None, :, :]
        x7 = x7[:, None, None, :, :]
        v = hi[None, :, :, :, :]
        if WIDTH == 8:
            u = lo[None, :, :, :, :]
            even = ((v << 4) & -0x0F0F0F10) | (u & 0x0F0F0F0F)
            odd = (v & -0x0F0F0F10) | ((u >> 4) & 0x0F0F0F0F)
            q = ((low + high) * -264.0)[:, None, None, :, :]
            q = tl.fma(wide(even, wide_exponent, 15, 0x7F8000), x0, q)
            q = tl.fma(wide(odd, wide_exponent, 15, 0x7F8000), x4, q)
            q = tl.fma(wide(even, wide_exponent, 7, 0x7F8000), x1, q)
            q = tl.fma(wide(odd, wide_exponent, 7, 0x7F8000), x5, q)
            q = tl.fma(wide(even, wide_exponent, -1, 0x7F8000), x2, q)
            q = tl.fma(wide(odd, wide_exponent, -1, 0x7F8000), x6, q)
            q = tl.fma(wide(even, wide_exponent, -9, 0x7F8000), x3, q)
            q = tl.fma(wide(odd, wide_exponent, -9, 0x7F8000), x7, q)
            below = ((low + high) * -128.0)[:, None, None, :, :]  # 16 * -8: sums are in 16ths
        else:
            q = tl.fma(low, -256.0, high * -16.0)[:, None, None, :, :]
            q = tl.fma(wide(v, wide_exponent, 15, 0x78000), x0, q)
            q = tl.fma(wide(v, narrow_exponent, 15, 0x780000), x4, q)
            q = tl.fma(wide(v, wide_exponent, 7, 0x78000), x1, q)
            q = tl.fma(wide(v, narrow_exponent, 7, 0x780000), x5, q)
            q = tl.fma(wide(v, wide_exponent, -1, 0x78000), x2, q)
            q = tl.fma(wide(v, narrow_exponent, -1, 0x780000), x6, q)
            q = tl.fma(wide(v, wide_exponent, -9, 0x78000), x3, q)
            q = tl.fma(wide(v, narrow_exponent, -9, 0x780000), x7, q)
            below = ((low + high) * -8.0)[:, None, None, :, :]
        acc = tl.fma(q, scales.to(tl.float32)[None, :, :, :, :], acc)
        acc = tl.fma(minima.to(tl.float32)[None, :, :, :, :], below, acc)
        hi, lo, scales, minima = next_hi, next_lo, next_scales, next_minima
    if USE_PDL:
        gdc_launch_dependents()
    # lanes 4j + q over j, then warps: [token, row, tile, q]
    y = tl.sum(tl.sum(tl.reshape(acc, (N, 4, T, W, 8, 4)), axis=4), axis=3)
    row = (
        tile[None, None, :, None] * 16
        + tl.arange(0, 4)[None, None, None, :] * 4
        + tl.arange(0, 4)[None, :, None, None]
    )
    scale = tl.load(row_scale_ptr + row, mask=row < tiles * 16, other=0.0)
    if WIDTH == 8:
        scale *= 0.0625
    y *= scale
    if RMS:
        # every activation is in four lanes
        mean = tl.sum(tl.sum(squares, axis=2), axis=1) / (4 * cols)
        y *= (1.0 / tl.sqrt_rn(mean + eps))[:, None, None, None]
    row = tl.broadcast_to(row, (N, 4, T, 4))
    token4 = tl.broadcast_to(token[:, None, None, None], (N, 4, T, 4))
    if EPILOGUE == GATE:
        y = tl.permute(tl.reshape(y, (N, 4, T // 2, 2, 4)), (0, 1, 2, 4, 3))
        row = tl.permute(tl.reshape(row, (N, 4, T // 2, 2, 4)), (0, 1, 2, 4, 3))
        token4 = tl.permute(tl.reshape(token4, (N, 4, T // 2, 2, 4)), (0, 1, 2, 4, 3))
    finish(
        y, row, row, token4, n, tiles * 16, bias_ptr, out_ptr, out_cols,
        EPILOGUE, ACTIVATION, HAS_BIAS,
    )  # fmt: skip
