"""Triton kernel: causal attention of a prompt's rows over the paged cache, by tensor cores.

A program has a tile of rows and the query heads of one kv head; it walks the keys in blocks of
fixed positions, so that a row's values depend on its own sequence alone. It must not know torch
tensors, layers or models.
"""

import triton
import triton.language as tl

from .triton_attention import NEVER

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def attend_keys(
    q, top, weight, total, position, last, begin, end, keys_ptr, values_ptr, table_ptr, kv_head,
    scale, softcap, window,
    KV: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, TOKENS: tl.constexpr,
    N: tl.constexpr, SOFTCAP: tl.constexpr, WINDOW: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """The sums after the keys at begin .. end, N at a time. Not MASKED: every row sees them all.

    top [M] is the highest score so far, as a power of two; weight [M] sums 2^(score - top), total
    [M, BLOCK] that times the values.
    """
    d = tl.arange(0, BLOCK)[None, :]
    for base in range(begin, end, N):
        at = base + tl.arange(0, N)
        if MASKED:
            block = tl.load(table_ptr + at // TOKENS, mask=at <= last, other=0)
        else:
            block = tl.load(table_ptr + at // TOKENS)
        place = ((block.to(tl.int64) * KV + kv_head) * TOKENS + at % TOKENS)[:, None] * D + d
        if MASKED:
            there = (at <= last)[:, None] & (d < D)
            k = tl.load(keys_ptr + place, mask=there, other=0.0).to(q.dtype)
        elif D < BLOCK:
            k = tl.load(keys_ptr + place, mask=d < D, other=0.0).to(q.dtype)
        else:
            k = tl.load(keys_ptr + place).to(q.dtype)
        score = tl.dot(q, tl.trans(k), input_precision="ieee")
        if SOFTCAP:
            factor = LOG2_E
            score = softcap * (2.0 * tl.sigmoid(2.0 * scale * score / softcap) - 1.0)
        else:
            factor = scale * LOG2_E
        if MASKED:
            seen = at[None, :] <= position[:, None]
            if WINDOW:
                seen = seen & (at[None, :] > position[:, None] - window)
            score = tl.where(seen, score, NEVER)
        higher = tl.maximum(top, tl.max(score, axis=1) * factor)
        p = tl.exp2(score * factor - higher[:, None])
        if MASKED:
            p = tl.where(seen, p, 0.0)
        shrink = tl.exp2(top - higher)
        weight = weight * shrink + tl.sum(p, axis=1)
        top = higher
        if MASKED:
            v = tl.load(values_ptr + place, mask=there, other=0.0).to(q.dtype)
        elif D < BLOCK:
            v = tl.load(values_ptr + place, mask=d < D, other=0.0).to(q.dtype)
        else:
            v = tl.load(values_ptr + place).to(q.dtype)
        total = tl.dot(p.to(q.dtype), v, total * shrink[:, None], input_precision="ieee")
    return top, weight, total


@triton.jit(do_not_specialize=["first", "rows"])
def attend_prompt(
    qkv_ptr, keys_ptr, values_ptr, positions_ptr, tables_ptr, out_ptr,
    first, rows, qkv_stride, table_stride, scale, softcap, window,
    KV: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
    TOKENS: tl.constexpr, M: tl.constexpr, N: tl.constexpr, HALVES: tl.constexpr,
    SOFTCAP: tl.constexpr, WINDOW: tl.constexpr,
):  # fmt: skip
    """M query heads of the run first .. first + rows, all of one kv head: a token's GROUP heads,
    then the next token's. HALVES: products in float16, else in float32."""
    tile = tl.num_programs(1) - 1 - tl.program_id(1)  # those with the most keys come first
    kv_head = tl.program_id(0)
    index = tile * M + tl.arange(0, M)
    token = index // GROUP
    there = token < rows
    position = tl.load(positions_ptr + first + token, mask=there, other=0)
    token = (first + token).to(tl.int64)
    head = kv_head * GROUP + index % GROUP
    d = tl.arange(0, BLOCK)[None, :]
    inside = there[:, None] & (d < D)
    place = (token * qkv_stride + head * D)[:, None] + d
    q = tl.load(qkv_ptr + place, mask=inside, other=0.0)
    q = q.to(tl.float16) if HALVES else q.to(tl.float32)
    last = tl.max(position)
    position = tl.where(there, position, last)
    earliest = tl.min(position)
    begin = 0
    whole = (earliest + 1) // N * N  # so many keys are seen by every row
    if WINDOW:
        begin = tl.maximum(earliest + 1 - window, 0) // N * N
        whole = begin
    table_ptr = tables_ptr + first.to(tl.int64) * table_stride
    top = tl.full((M,), NEVER, tl.float32)
    weight = tl.zeros((M,), tl.float32)
    total = tl.zeros((M, BLOCK), tl.float32)
    top, weight, total = attend_keys(
        q, top, weight, total, position, last, begin, whole, keys_ptr, values_ptr, table_ptr,
        kv_head, scale, softcap, window, KV, D, BLOCK, TOKENS, N, SOFTCAP, WINDOW, False,
    )  # fmt: skip
    top, weight, total = attend_keys(
        q, top, weight, total, position, last, whole, last + 1, keys_ptr, values_ptr, table_ptr,
        kv_head, scale, softcap, window, KV, D, BLOCK, TOKENS, N, SOFTCAP, WINDOW, True,
    )  # fmt: skip
    out = out_ptr + (token * (KV * GROUP * D) + head * D)[:, None] + d
    tl.store(out, (total / weight[:, None]).to(out_ptr.dtype.element_ty), mask=inside)
