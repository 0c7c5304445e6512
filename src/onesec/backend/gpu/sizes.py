"""Sizes: bytes of a model's cache and weights on a device, before and after they are there.

It must not know devices or files.
"""

from __future__ import annotations

import torch

from onesec.model.config import ModelConfig
from onesec.model.names import matrix_shape
from onesec.model.planes import packed_names, packed_shape, plane_bytes

from .ops import Matrix
from .rows import BLOCK_TOKENS


def block_bytes(config: ModelConfig, dtype: torch.dtype) -> int:
    """Bytes of one cache block's keys and values over all layers."""
    values = 2 * config.num_layers * config.num_kv_heads * config.head_dim * BLOCK_TOKENS
    return values * int(dtype.itemsize)


def packed_bytes(config: ModelConfig) -> int:
    """Bytes of both planes of all matrices, and of learned positions beside them."""
    planes = (plane_bytes(*packed_shape(config, name)) for name in packed_names(config))
    learned = matrix_shape(config, "pos_embed") if config.position == "learned" else (0, 0)
    return sum(hi + lo for hi, lo in planes) + 4 * learned[0] * learned[1]


def matrix_bytes(matrix: Matrix, width: int) -> int:
    """Bytes that a product reads at a width."""
    read = {
        0: (),
        4: (matrix.hi, matrix.row_scale),
        8: (matrix.hi, matrix.lo, matrix.row_scale),
        16: (matrix.dense,),
    }[width]
    return sum(int(part.nbytes) for part in read if part is not None)
