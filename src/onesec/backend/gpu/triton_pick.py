"""Triton kernels: the likeliest token of a row of logits, and how sure the row is of it.

Two stages, each in a fixed order. It must not know torch tensors, sampling or models.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

LOWEST = tl.constexpr(-3.0e38)  # stands for -inf, so that differences stay finite


@triton.jit
def top_two(value, index):
    """The highest value, the lowest index that has it, and the highest value of all the others."""
    top = tl.max(value, axis=0)
    at = tl.min(tl.where(value == top, index, 2147483647), axis=0)
    second = tl.max(tl.where(index == at, LOWEST, value), axis=0)
    return top, at, second


@triton.jit
def pick_parts(
    logits_ptr, floats_ptr, at_ptr, vocab, stride, parts, BLOCK: tl.constexpr, USE_PDL: tl.constexpr
):
    """Of BLOCK logits of one row: floats = top, second, sum e and sum e * (x - top), where
    e = exp(x - top); at = index of the top. Where a logit is not finite sum e is NaN."""
    if USE_PDL:
        gdc_launch_dependents()
        gdc_wait()
    part = tl.program_id(0)
    row = tl.program_id(1)
    index = part * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(logits_ptr + row.to(tl.int64) * stride + index, mask=index < vocab, other=LOWEST)
    lost = (x != x) | (tl.abs(x) == float("inf"))
    x = tl.where(lost, LOWEST, tl.maximum(x, LOWEST))
    top, at, second = top_two(x, index)
    below = tl.maximum(x - top, -200.0)  # exp is 0 there
    e = tl.where(index < vocab, tl.exp(below), 0.0)
    place = row * parts + part
    tl.store(floats_ptr + place * 4, top)
    tl.store(floats_ptr + place * 4 + 1, second)
    whole = tl.max(lost.to(tl.int32), axis=0) == 0
    tl.store(floats_ptr + place * 4 + 2, tl.where(whole, tl.sum(e, axis=0), float("nan")))
    tl.store(floats_ptr + place * 4 + 3, tl.sum(e * below, axis=0))
    tl.store(at_ptr + place, at)


@triton.jit
def pick_whole(
    floats_ptr, at_ptr, packed_ptr, tokens_ptr, positions_ptr, parts, n,
    BLOCK: tl.constexpr, MOVE: tl.constexpr, USE_PDL: tl.constexpr,
):  # fmt: skip
    """One row from its parts, packed [4, n]; with MOVE the next step's token and position too."""
    if USE_PDL:
        gdc_wait()
        gdc_launch_dependents()
    row = tl.program_id(0)
    part = tl.arange(0, BLOCK)
    there = part < parts
    place = row * parts + part
    tops = tl.load(floats_ptr + place * 4, mask=there, other=LOWEST)
    seconds = tl.load(floats_ptr + place * 4 + 1, mask=there, other=LOWEST)
    sums = tl.load(floats_ptr + place * 4 + 2, mask=there, other=0.0)
    tilted = tl.load(floats_ptr + place * 4 + 3, mask=there, other=0.0)
    ats = tl.load(at_ptr + place, mask=there, other=2147483647)
    top, at, second = top_two(tops, ats)
    second = tl.maximum(second, tl.max(tl.where(ats == at, seconds, LOWEST), axis=0))
    below = tl.maximum(tops - top, -200.0)
    factor = tl.where(there, tl.exp(below), 0.0)
    total = tl.sum(sums * factor, axis=0)
    mean = tl.sum((tilted + below * sums) * factor, axis=0) / total
    log_total = tl.log(total)
    margin = (1.0 - tl.exp(tl.maximum(second - top, -200.0))) / total
    tl.store(packed_ptr + row, at)
    tl.store(packed_ptr + n + row, (-log_total).to(tl.int32, bitcast=True))
    entropy = tl.maximum(log_total - mean, 0.0)
    tl.store(packed_ptr + 2 * n + row, entropy.to(tl.int32, bitcast=True))
    tl.store(packed_ptr + 3 * n + row, margin.to(tl.int32, bitcast=True))
    if MOVE:
        tl.store(tokens_ptr + row, at)
        tl.store(positions_ptr + row, tl.load(positions_ptr + row) + 1)
