"""Planes back to floats: what a packed matrix stands for at a width.

It must not know files or gears. native/planes.h is the format, and says what the numbers here are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .planes import (
    GROUP_COLS,
    GROUP_ROWS,
    HI_BYTES,
    LO_BYTES,
    MINIMUM_UNIT,
    RESIDUAL_ZERO,
    SCALES,
    PackedMatrix,
)

Float32 = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
_TILES = 64  # rows of tiles decoded at a time


def _codes(plane: Bytes) -> Bytes:
    """[tiles, superblocks, bytes] -> [tiles, 16 rows, columns]: nibbles in their places."""
    lines = plane[..., :SCALES].reshape(*plane.shape[:2], 8, GROUP_ROWS, 4)
    nibbles = np.stack((lines & 15, lines >> 4), axis=4)  # [..., line, row, half, 4]
    tiles, blocks = plane.shape[:2]
    ordered = nibbles.transpose(0, 3, 1, 2, 4, 5)  # [tile, row, superblock, line, half, 4]
    return ordered.reshape(tiles, GROUP_ROWS, blocks * GROUP_COLS)


def plane_values(matrix: PackedMatrix, width: int) -> Float32:
    """float32 [rows, cols] of a packed matrix, rows with their padding; `width` 4 or 8.

    The values are those that the kernels multiply with, up to the rounding of a product.

    >>> plane_values(artifact.packed("layers.0.o"), 8).shape  # doctest: +SKIP
    (576, 576)
    """
    blocks = -(-matrix.cols // GROUP_COLS)
    tiles = -(-matrix.rows // GROUP_ROWS)
    hi = matrix.hi.reshape(tiles, blocks, HI_BYTES)
    lo = matrix.lo.reshape(-1, blocks, LO_BYTES)  # of a narrow matrix: none, and only width 4
    unit = matrix.row_scale.reshape(tiles, GROUP_ROWS, 1, 1)
    values = np.empty((tiles * GROUP_ROWS, matrix.cols), np.float32)
    for begin in range(0, tiles, _TILES):
        part = slice(begin, begin + _TILES)
        codes = _codes(hi[part]).astype(np.float32)
        if width == 8:
            codes += (_codes(lo[part]).astype(np.float32) - RESIDUAL_ZERO) / np.float32(16)
        lines = hi[part, :, SCALES:].reshape(-1, blocks, 2, 2, GROUP_ROWS)
        # [tile, superblock, scale or minimum, group, row] -> [tile, row, group over all columns, 1]
        scale, minimum = (
            lines[:, :, which].transpose(0, 3, 1, 2).reshape(-1, GROUP_ROWS, blocks * 2, 1)
            for which in (0, 1)
        )
        groups = codes.reshape(*codes.shape[:2], blocks * 2, GROUP_COLS // 2)
        real = (unit[part] * scale) * groups - unit[part] * np.float32(MINIMUM_UNIT) * minimum
        rows = real.reshape(-1, blocks * GROUP_COLS)[:, : matrix.cols]
        values[begin * GROUP_ROWS : begin * GROUP_ROWS + len(rows)] = rows
    return values
