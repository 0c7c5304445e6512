"""Triton kernels: weights back to floats, norms of whole rows, and heads turned and stored.

A step begins with embed_*. It waits before it lets the next kernel begin, so that those that follow
may read the step's positions and tables at once.

It must not know torch tensors, layers or models.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from .triton_parts import together
from .triton_planes import moved


@triton.jit
def embed_planes(
    tokens_ptr, hi_ptr, lo_ptr, row_scale_ptr, out_ptr, cols, out_cols, superblocks, factor,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr, USE_PDL: tl.constexpr,
):  # fmt: skip
    """BLOCK columns of one token's row."""
    if USE_PDL:
        gdc_wait()
        gdc_launch_dependents()
    token = tl.load(tokens_ptr + tl.program_id(0))
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = col < cols
    at = (token // 16).to(tl.int64) * superblocks + col // 64
    # line, row, and the byte that two columns four apart share
    place = (col % 64 // 8) * 64 + (token % 16) * 4 + col % 4
    shift = (col % 8 // 4) * 4
    code = (tl.load(hi_ptr + at * 576 + place, mask=inside, other=0).to(tl.int32) >> shift) & 15
    group = at * 576 + 512 + (col % 64 // 32) * 16 + token % 16
    scale = tl.load(hi_ptr + group, mask=inside, other=0).to(tl.float32)
    minimum = tl.load(hi_ptr + group + 32, mask=inside, other=0).to(tl.float32)
    if WIDTH == 8:
        lo = tl.load(lo_ptr + at * 512 + place, mask=inside, other=0).to(tl.int32)
        code = code * 16 + ((lo >> shift) & 15) - 8
        scale *= 0.0625
    value = (scale * code.to(tl.float32) - 8.0 * minimum) * tl.load(row_scale_ptr + token)
    out = out_ptr + tl.program_id(0) * out_cols + col
    tl.store(out, value * factor, mask=col < out_cols)


@triton.jit
def embed_dense(
    tokens_ptr, w_ptr, out_ptr, cols, out_cols, factor,
    BLOCK: tl.constexpr, USE_PDL: tl.constexpr,
):  # fmt: skip
    """BLOCK columns of one token's row."""
    if USE_PDL:
        gdc_wait()
        gdc_launch_dependents()
    token = tl.load(tokens_ptr + tl.program_id(0)).to(tl.int64)
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(w_ptr + token * cols + col, mask=col < cols, other=0.0).to(tl.float32)
    out = out_ptr + tl.program_id(0) * out_cols + col
    tl.store(out, value * factor, mask=col < out_cols)


@triton.jit
def codes(hi, lo, SHIFT: tl.constexpr, WIDTH: tl.constexpr):
    """The nibble at -SHIFT, as scale's factor."""
    code = moved(hi, SHIFT) & 15
    if WIDTH == 8:
        code = code * 16 + (moved(lo, SHIFT) & 15) - 8
    return code.to(tl.float32)


@triton.jit
def dequantize_planes(
    hi_ptr, lo_ptr, scale_ptr, row_scale_ptr, out_ptr, cols, superblocks,
    WIDTH: tl.constexpr, S: tl.constexpr,
):  # fmt: skip
    """S superblocks of a tile: lane 4j + q turns line j of rows 4q..4q+3 to eight columns each."""
    tile = tl.program_id(0)
    s = tl.program_id(1) * S + tl.arange(0, S)[None, :, None]
    lane = tl.arange(0, 32)[:, None, None]
    r = tl.arange(0, 4)[None, None, :]
    inside = s < superblocks
    at = tile.to(tl.int64) * superblocks + s
    hi = tl.load(hi_ptr + at * 144 + lane * 4 + r, mask=inside, other=0)
    lo = hi
    if WIDTH == 8:
        lo = tl.load(lo_ptr + at * 128 + lane * 4 + r, mask=inside, other=0)
    group = scale_ptr + at * 576 + 512 + (lane // 16) * 16 + (lane % 4) * 4 + r
    row = tile * 16 + (lane % 4) * 4 + r
    row_scale = tl.load(row_scale_ptr + row)
    scale = tl.load(group, mask=inside, other=0).to(tl.float32)
    minimum = -8.0 * tl.load(group + 32, mask=inside, other=0).to(tl.float32) * row_scale
    if WIDTH == 8:
        scale *= 0.0625
    scale *= row_scale
    # columns i and 4 + i are nibbles 2i and 2i + 1
    x0 = tl.fma(scale, codes(hi, lo, 0, WIDTH), minimum)
    x1 = tl.fma(scale, codes(hi, lo, -8, WIDTH), minimum)
    x2 = tl.fma(scale, codes(hi, lo, -16, WIDTH), minimum)
    x3 = tl.fma(scale, codes(hi, lo, -24, WIDTH), minimum)
    x4 = tl.fma(scale, codes(hi, lo, -4, WIDTH), minimum)
    x5 = tl.fma(scale, codes(hi, lo, -12, WIDTH), minimum)
    x6 = tl.fma(scale, codes(hi, lo, -20, WIDTH), minimum)
    x7 = tl.fma(scale, codes(hi, lo, -28, WIDTH), minimum)
    value = tl.reshape(together(x0, x1, x2, x3, x4, x5, x6, x7), (32, S, 4, 8))
    col = s * 64 + (lane // 4) * 8
    col = col[:, :, :, None] + tl.arange(0, 8)[None, None, None, :]
    out = out_ptr + row.to(tl.int64)[:, :, :, None] * cols + col
    tl.store(out, value.to(out_ptr.dtype.element_ty), mask=col < cols)


@triton.jit
def normed(
    x, inside, index, size, weight_ptr, bias_ptr, eps,
    LAYER: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """The norm of a vector x that is 0 outside."""
    if LAYER:
        mean = tl.sum(x, axis=0) / size
        x = tl.where(inside, x - mean, 0.0)
    x *= 1.0 / tl.sqrt_rn(tl.sum(x * x, axis=0) / size + eps)
    x *= tl.load(weight_ptr + index, mask=inside, other=0.0)
    if HAS_BIAS:
        x += tl.load(bias_ptr + index, mask=inside, other=0.0)
    return x


@triton.jit
def norm_rows(
    x_ptr, weight_ptr, bias_ptr, out_ptr, size, x_stride, eps,
    LAYER: tl.constexpr, HAS_BIAS: tl.constexpr, ADD: tl.constexpr, BLOCK: tl.constexpr,
    USE_PDL: tl.constexpr,
):  # fmt: skip
    """out = norm(x), or with ADD out += norm(x), of one row; in float32, whatever their types."""
    if USE_PDL:
        gdc_wait()
        gdc_launch_dependents()
    index = tl.arange(0, BLOCK)
    inside = index < size
    x = tl.load(x_ptr + tl.program_id(0) * x_stride + index, mask=inside, other=0.0)
    x = x.to(tl.float32)
    x = normed(x, inside, index, size, weight_ptr, bias_ptr, eps, LAYER, HAS_BIAS)
    out = out_ptr + tl.program_id(0) * size + index
    if ADD:
        x += tl.load(out, mask=inside, other=0.0)
    tl.store(out, x, mask=inside)


@triton.jit
def turn_and_store(
    qkv_ptr, rotary_ptr, q_weight_ptr, k_weight_ptr, keys_ptr, values_ptr, positions_ptr,
    tables_ptr, qkv_stride, table_stride, k_offset, v_offset, q_eps, k_eps,
    QUERIES: tl.constexpr, KV: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
    HALF: tl.constexpr, TOKENS: tl.constexpr, Q_NORM: tl.constexpr, K_NORM: tl.constexpr,
    USE_PDL: tl.constexpr,
):  # fmt: skip
    """One head of one token. HALF 0: nothing is turned. The norms are RMS norms."""
    if USE_PDL:
        gdc_launch_dependents()
        gdc_wait()
    token = tl.program_id(0)
    head = tl.program_id(1)
    index = tl.arange(0, BLOCK)
    inside = index < D
    # a value's partner in the turn; where there is none the value itself, with sine 0
    partner = tl.where(index < HALF, index + HALF, index - HALF)
    turned = index < 2 * HALF
    partner = tl.where(turned, partner, index)
    is_query = head < QUERIES
    is_key = (head >= QUERIES) & (head < QUERIES + KV)
    kv_head = (head - QUERIES) % KV
    offset = tl.where(is_query, head * D, tl.where(is_key, k_offset, v_offset) + kv_head * D)
    start = qkv_ptr + token * qkv_stride + offset
    x = tl.load(start + index, mask=inside, other=0.0).to(tl.float32)
    position = tl.load(positions_ptr + token)
    if not (head >= QUERIES + KV):
        y = tl.load(start + partner, mask=inside, other=0.0).to(tl.float32)
        if is_query:
            if Q_NORM:
                x = normed(x, inside, index, D, q_weight_ptr, q_weight_ptr, q_eps, False, False)
                y = normed(y, inside, partner, D, q_weight_ptr, q_weight_ptr, q_eps, False, False)
        else:
            if K_NORM:
                x = normed(x, inside, index, D, k_weight_ptr, k_weight_ptr, k_eps, False, False)
                y = normed(y, inside, partner, D, k_weight_ptr, k_weight_ptr, k_eps, False, False)
        if HALF > 0:
            angle = rotary_ptr + position * (2 * HALF) + index % HALF
            cosine = tl.load(angle, mask=turned, other=1.0)
            sine = tl.load(angle + HALF, mask=turned, other=0.0)
            x = x * cosine + tl.where(index < HALF, -y, y) * sine
    if is_query:
        tl.debug_barrier()  # partners are read before they are written
        tl.store(start + index, x, mask=inside)
    else:
        block = tl.load(tables_ptr + token * table_stride + position // TOKENS).to(tl.int64)
        place = ((block * KV + kv_head) * TOKENS + position % TOKENS) * D + index
        if is_key:
            tl.store(keys_ptr + place, x.to(keys_ptr.dtype.element_ty), mask=inside)
        else:
            tl.store(values_ptr + place, x.to(values_ptr.dtype.element_ty), mask=inside)
