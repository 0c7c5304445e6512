"""The form of an artifact: which files a folder has, and how many bytes a matrix takes as planes.

It must not know how planes are computed or read by kernels (native/planes.h says that).

    model.safetensors   <matrix>.hi and .lo (u8), <matrix>.row_scale (f32 [rows]), vectors (f32),
                        no .lo for the matrices that gears.json calls narrow,
                        pos_embed (f32 [context, hidden]) where positions are learned
    config.json         ModelConfig, with "format": "onesec" and "version"
    gears.json, recipe.json, and the tokenizer's files as they came
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .config import ModelConfig
from .names import matrix_names, matrix_shape, segment_rows

FORMAT = "onesec"
VERSION = 1
GROUP_ROWS, GROUP_COLS = 16, 64
HI_BYTES, LO_BYTES = 576, 512  # of 16 rows x 64 columns: codes (and in hi scales and minima)
SCALES = LO_BYTES  # where in hi a tile's scales begin, behind its codes
MINIMUM_UNIT, RESIDUAL_ZERO = 8, 8
Float32 = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    """A matrix [rows, cols] as planes: `hi` and `lo` uint8 1-d, `row_scale` float32 [rows].

    Rows are padded to 16 and columns to 64; a tile of those has 576 bytes in `hi`, 512 in `lo`.
    `lo` is empty where the matrix is narrow: it has 4 bits only.
    """

    hi: Bytes
    lo: Bytes
    row_scale: Float32
    rows: int
    cols: int

    @property
    def nbytes(self) -> int:
        """Bytes of all three."""
        return int(self.hi.nbytes + self.lo.nbytes + self.row_scale.nbytes)

    def narrow(self) -> PackedMatrix:
        """The same without `lo`."""
        return replace(self, lo=np.empty(0, np.uint8))


def packed_shape(config: ModelConfig, name: str) -> tuple[int, int]:
    """[rows, cols] of a matrix in planes: every segment begins at a tile, so rows are padded.

    >>> packed_shape(config, "embed")  # doctest: +SKIP
    (14032, 128)
    """
    kind = name.rpartition(".")[2]
    rows = sum(-(-n // GROUP_ROWS) * GROUP_ROWS for n in segment_rows(config, kind))
    return rows, matrix_shape(config, name)[1]


def plane_bytes(rows: int, cols: int) -> tuple[int, int]:
    """Bytes of `hi` and of `lo` for a matrix [rows, cols].

    >>> plane_bytes(17, 64)
    (1152, 1024)
    """
    tiles = -(-rows // GROUP_ROWS) * -(-cols // GROUP_COLS)
    return tiles * HI_BYTES, tiles * LO_BYTES


def packed_names(config: ModelConfig) -> list[str]:
    """The matrices that an artifact holds as planes: all but pos_embed."""
    return [name for name in matrix_names(config) if name != "pos_embed"]
