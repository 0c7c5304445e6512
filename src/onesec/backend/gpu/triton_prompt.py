"""Triton kernels of many rows at once: activations behind a product, heads turned and stored.

It must not know torch tensors, layers or models.
"""

import triton
import triton.language as tl

from .triton_parts import activated


@triton.jit
def activate_rows(
    y_ptr, out_ptr, size, half, y_stride,
    ACTIVATION: tl.constexpr, GATED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """BLOCK columns of one row: activation(y), with GATED times y's columns from `half` on."""
    col = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = col < size
    row = tl.program_id(0).to(tl.int64)
    y = y_ptr + row * y_stride + col
    value = activated(tl.load(y, mask=inside, other=0.0).to(tl.float32), ACTIVATION)
    if GATED:
        value *= tl.load(y + half, mask=inside, other=0.0).to(tl.float32)
    tl.store(out_ptr + row * size + col, value.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def head_gain(
    squares, index, inside, is_query, is_key, q_weight_ptr, k_weight_ptr, q_eps, k_eps,
    D: tl.constexpr, Q_NORM: tl.constexpr, K_NORM: tl.constexpr,
):  # fmt: skip
    """[H, BLOCK]: what an RMS norm multiplies the values at `index` by; 1 where there is none."""
    gain = tl.full(inside.shape, 1.0, tl.float32)
    if Q_NORM:
        weight = tl.load(q_weight_ptr + index, mask=inside & is_query, other=0.0)
        gain = tl.where(is_query, weight / tl.sqrt_rn(squares / D + q_eps), gain)
    if K_NORM:
        weight = tl.load(k_weight_ptr + index, mask=inside & is_key, other=0.0)
        gain = tl.where(is_key, weight / tl.sqrt_rn(squares / D + k_eps), gain)
    return gain


@triton.jit
def turn_rows(
    qkv_ptr, rotary_ptr, q_weight_ptr, k_weight_ptr, keys_ptr, values_ptr, positions_ptr,
    tables_ptr, qkv_stride, table_stride, k_offset, v_offset, q_eps, k_eps,
    QUERIES: tl.constexpr, KV: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
    HALF: tl.constexpr, TOKENS: tl.constexpr, Q_NORM: tl.constexpr, K_NORM: tl.constexpr,
    H: tl.constexpr,
):  # fmt: skip
    """H heads of one token: what turn_and_store does for one."""
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * H + tl.arange(0, H)[:, None]
    index = tl.arange(0, BLOCK)[None, :]
    inside = (index < D) & (head < QUERIES + 2 * KV)
    is_query = head < QUERIES
    is_key = (head >= QUERIES) & (head < QUERIES + KV)
    is_value = head >= QUERIES + KV
    kv_head = (head - QUERIES) % KV
    offset = tl.where(is_query, head * D, tl.where(is_key, k_offset, v_offset) + kv_head * D)
    start = qkv_ptr + token * qkv_stride + offset
    x = tl.load(start + index, mask=inside, other=0.0).to(tl.float32)
    position = tl.load(positions_ptr + token)
    squares = tl.sum(x * x, axis=1, keep_dims=True)
    if HALF > 0:
        # a value's partner in the turn; where there is none the value itself, with sine 0
        turned = index < 2 * HALF
        partner = tl.where(turned, tl.where(index < HALF, index + HALF, index - HALF), index)
        y = tl.load(start + partner, mask=inside & (is_value == 0), other=0.0).to(tl.float32)
        y *= head_gain(
            squares, partner, inside, is_query, is_key, q_weight_ptr, k_weight_ptr, q_eps, k_eps,
            D, Q_NORM, K_NORM,
        )  # fmt: skip
    x *= head_gain(
        squares, index, inside, is_query, is_key, q_weight_ptr, k_weight_ptr, q_eps, k_eps,
        D, Q_NORM, K_NORM,
    )  # fmt: skip
    if HALF > 0:
        angle = rotary_ptr + position * (2 * HALF) + index % HALF
        cosine = tl.load(angle, mask=turned, other=1.0)
        sine = tl.load(angle + HALF, mask=turned, other=0.0)
        sine = tl.where(index < HALF, -sine, sine)
        x = tl.where(is_value, x, x * cosine + y * sine)
        tl.debug_barrier()  # partners are read before they are written
    tl.store(start + index, x.to(qkv_ptr.dtype.element_ty), mask=inside & is_query)
    block = tl.load(tables_ptr + token * table_stride + position // TOKENS).to(tl.int64)
    place = ((block * KV + kv_head) * TOKENS + position % TOKENS) * D + index
    kept = x.to(keys_ptr.dtype.element_ty)
    tl.store(keys_ptr + place, kept, mask=inside & is_key)
    tl.store(values_ptr + place, kept, mask=inside & is_value)
