"""How a product is cut into programs: one small table, to be tuned on the device.

It must not know Triton, tensors or models. Nothing here may depend on the number of tokens: a
row's sums are added in an order that these numbers decide.
"""

from __future__ import annotations

# width: (from this many programs of the larger piece on, larger piece, smaller piece), pieces in
# tiles of 16 rows at 4 and 8 bits, in rows at 16; then the most warps, and what a warp takes at a
# time in columns
_PIECES = {4: (128, 2, 1), 8: (128, 2, 1), 16: (128, 8, 4)}
_WARP_COLS = {4: 64, 8: 64, 16: 256}
_MOST_WARPS = 8
_UNIT_ROWS = {4: 16, 8: 16, 16: 1}


def tiles_for(width: int, rows: int, cols: int, *, gated: bool) -> tuple[int, int]:
    """(tiles or rows a program, warps a program), both powers of two; the first is even if gated.

    Every warp has two rounds or more of columns to walk, where there are that many.

    >>> tiles_for(4, 28672, 4096, gated=True)
    (2, 8)
    >>> tiles_for(4, 2048, 512, gated=False)
    (1, 4)
    """
    programs, larger, smaller = _PIECES[width]
    piece = larger if rows >= programs * larger * _UNIT_ROWS[width] else smaller
    rounds = -(-cols // _WARP_COLS[width])
    warps = 1
    while warps < _MOST_WARPS and 4 * warps <= rounds:
        warps *= 2
    return (max(piece, 2) if gated else piece), warps
