"""Triton kernels: attention of single tokens over the paged cache, in splits of fixed positions.

A split is a range of positions, whatever the token's own position, so that a token's bits depend
on its sequence alone. It must not know torch tensors, layers or models.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

NEVER = tl.constexpr(-1.0e30)  # a score below all others, and finite


@triton.jit
def attend_split(
    qkv_ptr, keys_ptr, values_ptr, positions_ptr, tables_ptr, sums_ptr, tops_ptr, weights_ptr,
    qkv_stride, table_stride, splits, scale, softcap, window,
    KV: tl.constexpr, GROUP: tl.constexpr, G: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
    TOKENS: tl.constexpr, SPLIT: tl.constexpr, SOFTCAP: tl.constexpr, WINDOW: tl.constexpr,
    USE_PDL: tl.constexpr,
):  # fmt: skip
    """One split of one token and kv head: sums [G, D] of exp(score - top) * value, tops, weights.

    G is GROUP and BLOCK is D, each up to a power of two; a block of TOKENS positions at a time.
    """
    if USE_PDL:
        gdc_wait()
        gdc_launch_dependents()
    split = tl.program_id(0)
    kv_head = tl.program_id(1)
    token = tl.program_id(2)
    position = tl.load(positions_ptr + token)
    first = 0
    if WINDOW:
        first = tl.maximum(position + 1 - window, 0)
    start = split * SPLIT
    if (start <= position) & (start + SPLIT > first):
        g = tl.arange(0, G)
        d = tl.arange(0, BLOCK)
        t = tl.arange(0, TOKENS)
        heads = kv_head * GROUP + g
        q = tl.load(
            qkv_ptr + token * qkv_stride + heads[:, None] * D + d[None, :],
            mask=(g < GROUP)[:, None] & (d < D)[None, :],
            other=0.0,
        )
        q *= scale
        top = tl.full((G,), NEVER, tl.float32)
        weight = tl.zeros((G,), tl.float32)
        total = tl.zeros((G, BLOCK), tl.float32)
        table = tables_ptr + token * table_stride
        begin = tl.maximum(start, first // TOKENS * TOKENS)
        for base in range(begin, tl.minimum(start + SPLIT, position + 1), TOKENS):
            block = tl.load(table + base // TOKENS).to(tl.int64)
            at = (block * KV + kv_head) * (TOKENS * D) + t[:, None] * D + d[None, :]
            seen = (base + t <= position) & (base + t >= first)
            there = seen[:, None] & (d < D)[None, :]
            k = tl.load(keys_ptr + at, mask=there, other=0.0).to(tl.float32)
            v = tl.load(values_ptr + at, mask=there, other=0.0).to(tl.float32)
            score = tl.sum(q[:, None, :] * k[None, :, :], axis=2)
            if SOFTCAP:
                score = softcap * (2.0 * tl.sigmoid(2.0 * score / softcap) - 1.0)
            score = tl.where(seen[None, :], score, NEVER)
            higher = tl.maximum(top, tl.max(score, axis=1))
            p = tl.where(seen[None, :], tl.exp(score - higher[:, None]), 0.0)
            shrink = tl.exp(top - higher)
            weight = weight * shrink + tl.sum(p, axis=1)
            total = total * shrink[:, None] + tl.sum(p[:, :, None] * v[None, :, :], axis=1)
            top = higher
        place = (token * KV * GROUP + heads) * splits + split
        tl.store(
            sums_ptr + place[:, None] * D + d[None, :],
            total,
            mask=(g < GROUP)[:, None] & (d < D)[None, :],
        )
        tl.store(tops_ptr + place, top, mask=g < GROUP)
        tl.store(weights_ptr + place, weight, mask=g < GROUP)


@triton.jit
def join_splits(
    sums_ptr, tops_ptr, weights_ptr, positions_ptr, out_ptr, splits, window,
    HEADS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, SPLIT: tl.constexpr,
    CHUNK: tl.constexpr, WINDOW: tl.constexpr, USE_PDL: tl.constexpr,
):  # fmt: skip
    """One head of one token over its splits, CHUNK at a time, out [n, HEADS * D]."""
    if USE_PDL:
        gdc_wait()
        gdc_launch_dependents()
    head = tl.program_id(0)
    token = tl.program_id(1)
    position = tl.load(positions_ptr + token)
    first = 0
    if WINDOW:
        first = tl.maximum(position + 1 - window, 0) // SPLIT
    last = position // SPLIT
    c = tl.arange(0, CHUNK)
    d = tl.arange(0, BLOCK)
    at = (token * HEADS + head) * splits
    top = tl.full((1,), NEVER, tl.float32)
    weight = tl.zeros((1,), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for base in range(first // CHUNK * CHUNK, last + 1, CHUNK):
        split = base + c
        there = (split >= first) & (split <= last)
        tops = tl.load(tops_ptr + at + split, mask=there, other=NEVER)
        weights = tl.load(weights_ptr + at + split, mask=there, other=0.0)
        sums = tl.load(
            sums_ptr + (at + split)[:, None] * D + d[None, :],
            mask=there[:, None] & (d < D)[None, :],
            other=0.0,
        )
        higher = tl.maximum(top, tl.max(tops, axis=0))
        shrink = tl.exp(top - higher)
        factor = tl.where(there, tl.exp(tops - higher), 0.0)
        weight = weight * shrink + tl.sum(weights * factor, axis=0)
        total = total * shrink + tl.sum(sums * factor[:, None], axis=0)
        top = higher
    tl.store(out_ptr + (token * HEADS + head) * D + d, total / weight, mask=d < D)
