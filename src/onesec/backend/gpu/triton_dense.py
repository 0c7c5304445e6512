"""Triton kernel: a dense matrix times a few rows of activations, weights read once.

A program owns some rows of the matrix and all of its columns; each warp walks its own columns.
The sums of a row are added in an order that the matrix's shape alone decides.
It must not know torch tensors, layers or models.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from .triton_parts import GATE, activations, eighths, finish, weights


@triton.jit
def dense_product(
    w_ptr, x_ptr, gain_ptr, bias_ptr, out_ptr, n, cols, rows, half_rows, out_cols, eps,
    RMS: tl.constexpr, EPILOGUE: tl.constexpr, ACTIVATION: tl.constexpr, HAS_BIAS: tl.constexpr,
    EVEN: tl.constexpr, N: tl.constexpr, R: tl.constexpr, W: tl.constexpr, USE_PDL: tl.constexpr,
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
    at = w_ptr + row4.to(tl.int64) * cols + w_col
    whole = row4 < rows
    w = weights(at, whole & (w_col < cols), EVEN)
    token = tl.program_id(1) * N + tl.arange(0, N)
    acc = tl.zeros((N, R, W, 32), tl.float32)
    squares = tl.zeros((N, W, 32), tl.float32)
    if USE_PDL:
        gdc_wait()
    for first in range(0, cols, W * 256):
        x0, x1, x2, x3, squares = activations(
            x_ptr, gain_ptr, token[None, None, :, None], n, first + x_col, cols, squares,
            RMS, EVEN, N, W,
        )  # fmt: skip
        x4, x5, x6, x7, squares = activations(
            x_ptr, gain_ptr, token[None, None, :, None], n, first + x_col + 4, cols, squares,
            RMS, EVEN, N, W,
        )  # fmt: skip
        following = first + W * 256
        if EVEN:
            following = tl.minimum(following, cols - W * 256)
        next_w = weights(at + following, whole & (w_col + following < cols), EVEN)
        w0, w1, w2, w3, w4, w5, w6, w7 = eighths(w.to(tl.float32), R, W, 32)
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
