"""How products and attention are cut into programs: small tables, to be tuned on the device.

It must not know Triton, tensors or models. Nothing here may depend on the number of tokens: a row's
sums are added in an order that the warps decide.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Limits:
    """At one width. A piece is a tile of 16 rows at 4 and 8 bits, a row at 16.

    large, small  pieces a program: the larger number where that leaves `programs` programs
    """

    unit_rows: int
    warp_cols: int
    large: int
    small: int
    programs: int = 128
    most_warps: int = 8


_LIMITS = {4: _Limits(16, 64, 2, 1), 8: _Limits(16, 64, 2, 1), 16: _Limits(1, 256, 4, 2)}


@dataclass(frozen=True, slots=True)
class Tiling:
    """pieces a program and its warps, powers of two; even: rows and columns are whole rounds."""

    pieces: int
    warps: int
    even: bool


def tiles_for(width: int, rows: int, cols: int, *, gated: bool) -> Tiling:
    """How to multiply a matrix; the pieces are even where gated.

    Every warp has two rounds or more of columns to walk, where there are that many.

    >>> tiles_for(4, 28672, 4096, gated=True)
    Tiling(pieces=2, warps=8, even=True)
    >>> tiles_for(4, 2048, 896, gated=False)
    Tiling(pieces=1, warps=4, even=False)
    """
    limits = _LIMITS[width]
    units = rows // limits.unit_rows
    pieces = limits.large if units >= limits.programs * limits.large else limits.small
    if gated:
        pieces = max(pieces, 2)
    rounds = -(-cols // limits.warp_cols)
    warps = 1
    while warps < limits.most_warps and 4 * warps <= rounds:
        warps *= 2
    even = units % pieces == 0 and cols % (warps * limits.warp_cols) == 0
    return Tiling(pieces, warps, even)


@dataclass(frozen=True, slots=True)
class AttentionTile:
    """Of a prompt's attention: query rows a program, keys a round, and how Triton runs it."""

    rows: int
    keys: int
    warps: int
    stages: int


def attention_tile(head_dim: int, *, halves: bool) -> AttentionTile:
    """For heads of a power of two; halves: by tensor cores, whose tiles are large.

    >>> attention_tile(128, halves=True)
    AttentionTile(rows=128, keys=64, warps=8, stages=2)
    """
    large = head_dim > 128
    if not halves:
        return AttentionTile(16, 16, 8, 1) if large else AttentionTile(16, 32, 4, 1)
    if large:
        return AttentionTile(64, 32, 8, 2)
    return AttentionTile(128, 64, 8 if head_dim > 64 else 4, 2)
