"""Triton kernels: products of weights with a few rows of activations, weights read once.

A program owns some rows of the matrix and all of its columns; each warp walks its own columns.
The sums of a row are added in an order that the matrix's shape alone decides.
It must not know torch tensors, layers or models.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

# A nibble or a byte is set into the mantissa of a float with a known exponent: the float is then
# an offset plus the code, and the offset times sum(x) is taken off once for eight codes.
# The exponents are arguments, not constants: (v & mask) | register is one instruction.
WIDE_EXPONENT = 0x43800000  # code in bits 15..22: 256 + code
NARROW_EXPONENT = 0x41800000  # nibble in bits 19..22: 16 + code

STORE = tl.constexpr(0)  # what happens to the sums: written,
ADD = tl.constexpr(1)  # added to what is there,
ACTIVATE = tl.constexpr(2)  # through the activation,
GATE = tl.constexpr(3)  # or activation(first half of the rows) * second half

SILU = tl.constexpr(0)
GELU_TANH = tl.constexpr(1)
GELU = tl.constexpr(2)
RELU = tl.constexpr(3)


@triton.jit
def quarters(x, A: tl.constexpr, W: tl.constexpr):
    """[32 lanes, W, A, 4] -> the four [A, W, 32] of its last axis."""
    x = tl.permute(x, (2, 1, 0, 3))
    even, odd = tl.split(tl.reshape(x, (A, W, 32, 2, 2)))
    x0, x2 = tl.split(even)
    x1, x3 = tl.split(odd)
    return x0, x1, x2, x3


@triton.jit
def eighths(x, A: tl.constexpr, W: tl.constexpr):
    """[32 lanes, W, A, 8] -> the eight [A, W, 32] of its last axis."""
    x = tl.permute(x, (2, 1, 0, 3))
    even, odd = tl.split(tl.reshape(x, (A, W, 32, 4, 2)))
    x04, x26 = tl.split(tl.reshape(even, (A, W, 32, 2, 2)))
    x15, x37 = tl.split(tl.reshape(odd, (A, W, 32, 2, 2)))
    x0, x4 = tl.split(x04)
    x2, x6 = tl.split(x26)
    x1, x5 = tl.split(x15)
    x3, x7 = tl.split(x37)
    return x0, x1, x2, x3, x4, x5, x6, x7


@triton.jit
def activations(
    x_ptr, gain_ptr, token, n, col, cols, squares,
    RMS: tl.constexpr, N: tl.constexpr, W: tl.constexpr,
):  # fmt: skip
    """Columns col..col+3 of N tokens, each [N, W, 32], and the squares summed so far.

    token is [1, 1, N, 1], col [32, W, 1, 4]: a load's last axis is a lane's own, its first the
    lanes, which is how Triton lays out a load, so that nothing passes through shared memory.
    """
    x = tl.load(x_ptr + token * cols + col, mask=(token < n) & (col < cols), other=0.0)
    x0, x1, x2, x3 = quarters(x, N, W)
    if RMS:
        squares = tl.fma(x0, x0, squares)
        squares = tl.fma(x1, x1, squares)
        squares = tl.fma(x2, x2, squares)
        squares = tl.fma(x3, x3, squares)
        gain = tl.load(gain_ptr + col, mask=col < cols, other=0.0)
        g0, g1, g2, g3 = quarters(gain, 1, W)
        x0 *= g0
        x1 *= g1
        x2 *= g2
        x3 *= g3
    return x0, x1, x2, x3, squares


@triton.jit
def moved(v, SHIFT: tl.constexpr):
    """v << SHIFT, or >> where it is negative."""
    if SHIFT > 0:
        v = v << SHIFT
    else:
        v = v >> (-SHIFT)
    return v


@triton.jit
def wide(v, exponent, SHIFT: tl.constexpr, MASK: tl.constexpr):
    """256 + the code that SHIFT brings to bit 15."""
    return ((moved(v, SHIFT) & MASK) | exponent).to(tl.float32, bitcast=True)


@triton.jit
def activated(v, ACTIVATION: tl.constexpr):
    if ACTIVATION == SILU:
        v = v * tl.sigmoid(v)
    elif ACTIVATION == GELU_TANH:
        v = v * tl.sigmoid(1.5957691216057308 * (v + 0.044715 * v * v * v))
    elif ACTIVATION == GELU:
        v = 0.5 * v * (1.0 + tl.erf(v * 0.7071067811865476))
    else:
        v = tl.maximum(v, 0.0)
    return v


@triton.jit
def finish(
    y, row, out_row, token, n, rows, bias_ptr, out_ptr, out_cols,
    EPILOGUE: tl.constexpr, ACTIVATION: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """y, token, row and out_row are [tokens, rows in some order]; in GATE the last axis is
    (gate, up), out_row that of the gate."""
    if HAS_BIAS:
        y += tl.load(bias_ptr + row, mask=row < rows, other=0.0)
    if EPILOGUE == GATE:
        gate, up = tl.split(y)
        y = activated(gate, ACTIVATION) * up
        out_row, unused = tl.split(out_row)
        token, unused = tl.split(token)
    if EPILOGUE == ACTIVATE:
        y = activated(y, ACTIVATION)
    inside = (token < n) & (out_row < out_cols)
    out = out_ptr + token * out_cols + out_row
    if EPILOGUE == ADD:
        y += tl.load(out, mask=inside, other=0.0)
    tl.store(out, y, mask=inside)


@triton.jit
def plane_words(hi_ptr, lo_ptr, scale_ptr, at, inside, WIDTH: tl.constexpr):
    """Of superblocks `at` [1, W, T, 1]: hi (and lo), scales and minima, each [4 rows, T, W, 32]."""
    lane = tl.arange(0, 32)[:, None, None, None]
    row = tl.arange(0, 4)[None, None, None, :]
    place = lane * 4 + row
    hi = tl.load(hi_ptr + at * 144 + place, mask=inside, other=0, eviction_policy="evict_first")
    lo = hi
    if WIDTH == 8:
        lo = tl.load(lo_ptr + at * 128 + place, mask=inside, other=0, eviction_policy="evict_first")
    scale = scale_ptr + at * 576 + 512 + (lane // 16) * 16 + (lane % 4) * 4 + row
    scales = tl.load(scale, mask=inside, other=0)
    minima = tl.load(scale + 32, mask=inside, other=0)
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
    HAS_BIAS: tl.constexpr, N: tl.constexpr, T: tl.constexpr, W: tl.constexpr,
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
        hi_ptr, lo_ptr, scale_ptr, at, whole & (superblock < superblocks), WIDTH
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
            x_ptr, gain_ptr, token[None, None, :, None], n, col, cols, squares, RMS, N, W
        )
        x4, x5, x6, x7, squares = activations(
            x_ptr, gain_ptr, token[None, None, :, None], n, col + 4, cols, squares, RMS, N, W
        )
        following = first + W + superblock
        next_hi, next_lo, next_scales, next_minima = plane_words(
            hi_ptr, lo_ptr, scale_ptr, at + first + W, whole & (following < superblocks), WIDTH
        )
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


@triton.jit
def dense_product(
    w_ptr, x_ptr, gain_ptr, bias_ptr, out_ptr, n, cols, rows, half_rows, out_cols, eps,
    RMS: tl.constexpr, EPILOGUE: tl.constexpr, ACTIVATION: tl.constexpr, HAS_BIAS: tl.constexpr,
    N: tl.constexpr, R: tl.constexpr, W: tl.constexpr, USE_PDL: tl.constexpr,
):  # fmt: skip
    """Of R rows (in GATE: R / 2 of the gate and their like of the up) and N tokens: a lane takes
    eight columns at a time. Axes: [token, row, warp, lane]."""
    r = tl.arange(0, R)
    if EPILOGUE == GATE:
        row = tl.program_id(0) * (R // 2) + r // 2 + (r % 2) * half_rows
    else:
        row = tl.program_id(0) * R + r
    row4 = row[None, None, :, None]
    lane_col = (
        tl.arange(0, W)[None, :, None, None] * 256 + tl.arange(0, 32)[:, None, None, None] * 8
    )
    x_col = lane_col + tl.arange(0, 4)[None, None, None, :]
    w_col = lane_col + tl.arange(0, 8)[None, None, None, :]
    weights = w_ptr + row4.to(tl.int64) * cols + w_col
    inside = row4 < rows
    w = tl.load(weights, mask=inside & (w_col < cols), other=0.0, eviction_policy="evict_first")
    token = tl.program_id(1) * N + tl.arange(0, N)
    acc = tl.zeros((N, R, W, 32), tl.float32)
    squares = tl.zeros((N, W, 32), tl.float32)
    if USE_PDL:
        gdc_wait()
    for first in range(0, cols, W * 256):
        x0, x1, x2, x3, squares = activations(
            x_ptr, gain_ptr, token[None, None, :, None], n, first + x_col, cols, squares,
            RMS, N, W,
        )  # fmt: skip
        x4, x5, x6, x7, squares = activations(
            x_ptr, gain_ptr, token[None, None, :, None], n, first + x_col + 4, cols, squares,
            RMS, N, W,
        )  # fmt: skip
        next_w = tl.load(
            weights + first + W * 256,
            mask=inside & (w_col + first + W * 256 < cols),
            other=0.0,
            eviction_policy="evict_first",
        )
        w0, w1, w2, w3, w4, w5, w6, w7 = eighths(w.to(tl.float32), R, W)
        acc = tl.fma(w0[None, :, :, :], x0[:, None, :, :], acc)
        acc = tl.fma(w1[None, :, :, :], x1[:, None, :, :], acc)
        acc = tl.fma(w2[None, :, :, :], x2[:, None, :, :], acc)
        acc = tl.fma(w3[None, :, :, :], x3[:, None, :, :], acc)
        acc = tl.fma(w4[None, :, :, :], x4[:, None, :, :], acc)
        acc = tl.fma(w5[None, :, :, :], x5[:, None, :, :], acc)
        acc = tl.fma(w6[None, :, :, :], x6[:, None, :, :], acc)
        acc = tl.fma(w7[None, :, :, :], x7[:, None, :, :], acc)
        w = next_w
    if USE_PDL:
        gdc_launch_dependents()
    y = tl.sum(tl.sum(acc, axis=3), axis=2)
    if RMS:
        mean = tl.sum(tl.sum(squares, axis=2), axis=1) / cols
        y *= (1.0 / tl.sqrt_rn(mean + eps))[:, None]
    row2 = tl.broadcast_to(row[None, :], (N, R))
    token2 = tl.broadcast_to(token[:, None], (N, R))
    if EPILOGUE == GATE:
        y = tl.reshape(y, (N, R // 2, 2))
        row2 = tl.reshape(row2, (N, R // 2, 2))
        token2 = tl.reshape(token2, (N, R // 2, 2))
    finish(
        y, row2, row2, token2, n, rows, bias_ptr, out_ptr, out_cols,
        EPILOGUE, ACTIVATION, HAS_BIAS,
    )  # fmt: skip
