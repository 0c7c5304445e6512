"""Triton kernels: attention of single tokens over the paged cache, in splits of fixed positions.

A split is a range of positions, whatever the token's own position, so that a token's bits depend
on its sequence alone. It must not know torch tensors, layers or models.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from .triton_parts import eighths, together

NEVER = tl.constexpr(-1.0e30)  # a score below all others, and finite


@triton.jit
def weighted(total, shrink, p, v):
    """[G, 1, P, L]: the sums so far times shrink [G, 1, P, 1], plus p [G, U, P, 1] of v."""
    return total * shrink + tl.sum(p * v[None, :, :, :], axis=1, keep_dims=True)


@triton.jit
def attend_split(
    qkv_ptr, keys_ptr, values_ptr, positions_ptr, tables_ptr, sums_ptr, tops_ptr, weights_ptr,
    qkv_stride, table_stride, splits, scale, softcap, window,
    KV: tl.constexpr, GROUP: tl.constexpr, G: tl.constexpr, D: tl.constexpr, L: tl.constexpr,
    P: tl.constexpr, U: tl.constexpr, TOKENS: tl.constexpr, SPLIT: tl.constexpr,
    SOFTCAP: tl.constexpr, WINDOW: tl.constexpr, USE_PDL: tl.constexpr,
):  # fmt: skip
    """One split of one token, for G query heads of one kv head.

    Out: sums [head, D] of exp(score - top) * value, tops and weights (the sums of exp) [head].
    A position's head is in L lanes, eight values each; P positions side by side are P streams of
    their own, U positions a round each, and meet only at the end: [G, U, P, L].
    """
    if USE_PDL:
        gdc_launch_dependents()
        gdc_wait()
    split = tl.program_id(0)
    kv_head = tl.program_id(1) % KV
    token = tl.program_id(2)
    position = tl.load(positions_ptr + token)
    first = 0
    if WINDOW:
        first = tl.maximum(position + 1 - window, 0)
    start = split * SPLIT
    if (start <= position) & (start + SPLIT > first):
        lane = tl.arange(0, L)[:, None, None, None] * 8 + tl.arange(0, 8)[None, None, None, :]
        step = tl.arange(0, U)[None, None, :, None] * P + tl.arange(0, P)[None, :, None, None]
        in_group = (tl.program_id(1) // KV) * G + tl.arange(0, G)
        head = kv_head * GROUP + in_group
        q = tl.load(
            qkv_ptr + token * qkv_stride + head[None, None, :, None] * D + lane,
            mask=(in_group < GROUP)[None, None, :, None] & (lane < D),
            other=0.0,
        )
        q0, q1, q2, q3, q4, q5, q6, q7 = eighths(q * scale, G, 1, L)
        score_step = tl.permute(step, (3, 2, 1, 0))
        top = tl.full((G, 1, P, 1), NEVER, tl.float32)
        weight = tl.zeros((G, 1, P, 1), tl.float32)
        zero = tl.zeros((G, 1, P, L), tl.float32)
        t0, t1, t2, t3, t4, t5, t6, t7 = zero, zero, zero, zero, zero, zero, zero, zero
        begin = tl.maximum(start, first // (U * P) * (U * P))
        for base in range(begin, tl.minimum(start + SPLIT, position + 1), U * P):
            at = base + step
            seen = (at <= position) & (at >= first)
            if U * P > SPLIT:
                seen = seen & (at < start + SPLIT)
            block = tl.load(tables_ptr + token * table_stride + at // TOKENS, mask=seen, other=0)
            place = ((block.to(tl.int64) * KV + kv_head) * TOKENS + at % TOKENS) * D + lane
            there = seen & (lane < D)
            k = tl.load(keys_ptr + place, mask=there, other=0.0)
            v = tl.load(values_ptr + place, mask=there, other=0.0)
            k0, k1, k2, k3, k4, k5, k6, k7 = eighths(k.to(tl.float32), U, P, L)
            score = q0[:, :, None, :] * k0[None, :, :, :]
            score = tl.fma(q1[:, :, None, :], k1[None, :, :, :], score)
            score = tl.fma(q2[:, :, None, :], k2[None, :, :, :], score)
            score = tl.fma(q3[:, :, None, :], k3[None, :, :, :], score)
            score = tl.fma(q4[:, :, None, :], k4[None, :, :, :], score)
            score = tl.fma(q5[:, :, None, :], k5[None, :, :, :], score)
            score = tl.fma(q6[:, :, None, :], k6[None, :, :, :], score)
            score = tl.fma(q7[:, :, None, :], k7[None, :, :, :], score)
            score = tl.sum(score, axis=3, keep_dims=True)
            if SOFTCAP:
                score = softcap * (2.0 * tl.sigmoid(2.0 * score / softcap) - 1.0)
            at = base + score_step
            seen = (at <= position) & (at >= first)
            if U * P > SPLIT:
                seen = seen & (at < start + SPLIT)
            score = tl.where(seen, score, NEVER)
            higher = tl.maximum(top, tl.max(score, axis=1, keep_dims=True))
            p = tl.where(seen, tl.exp(score - higher), 0.0)
            shrink = tl.exp(top - higher)
            weight = weight * shrink + tl.sum(p, axis=1, keep_dims=True)
            top = higher
            v0, v1, v2, v3, v4, v5, v6, v7 = eighths(v.to(tl.float32), U, P, L)
            t0 = weighted(t0, shrink, p, v0)
            t1 = weighted(t1, shrink, p, v1)
            t2 = weighted(t2, shrink, p, v2)
            t3 = weighted(t3, shrink, p, v3)
            t4 = weighted(t4, shrink, p, v4)
            t5 = weighted(t5, shrink, p, v5)
            t6 = weighted(t6, shrink, p, v6)
            t7 = weighted(t7, shrink, p, v7)
        highest = tl.max(top, axis=2, keep_dims=True)
        factor = tl.exp(top - highest)
        row = (token * KV * GROUP + head) * splits + split
        whose = in_group < GROUP
        tl.store(tops_ptr + row, tl.reshape(highest, (G,)), mask=whose)
        weight = tl.sum(weight * factor, axis=2)
        tl.store(weights_ptr + row, tl.reshape(weight, (G,)), mask=whose)
        total = tl.reshape(
            together(
                t0 * factor, t1 * factor, t2 * factor, t3 * factor,
                t4 * factor, t5 * factor, t6 * factor, t7 * factor,
            ),
            (G, P, L, 8),
        )  # fmt: skip
        d = tl.arange(0, L)[:, None] * 8 + tl.arange(0, 8)[None, :]
        tl.store(
            sums_ptr + row[:, None, None] * D + d[None, :, :],
            tl.sum(total, axis=1),
            mask=whose[:, None, None] & (d < D)[None, :, :],
        )


@triton.jit
def join_splits(
    sums_ptr, tops_ptr, weights_ptr, positions_ptr, out_ptr, splits, window,
    HEADS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, SPLIT: tl.constexpr,
    CHUNK: tl.constexpr, WINDOW: tl.constexpr, USE_PDL: tl.constexpr,
):  # fmt: skip
    """One head of one token over its splits, CHUNK at a time, out [n, HEADS * D]."""
    if USE_PDL:
        gdc_launch_dependents()
        gdc_wait()
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
