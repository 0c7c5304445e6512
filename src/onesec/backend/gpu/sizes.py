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


def dense_bytes(config: ModelConfig, dtype: torch.dtype) -> int:
    """Bytes of all matrices at the 16-bit width, in a dtype."""
    shapes = (packed_shape(config, name) for name in packed_names(config))
    return sum(rows * cols for rows, cols in shapes) * int(dtype.itemsize)


def working_bytes(config: ModelConfig, dtype: torch.dtype, tokens: int) -> int:
    """Bytes that a prompt's chunk of so many tokens needs beside weights and cache, twice over:
    memory of graphs is not that of work outside them. A layer's largest matrix is opened, and a
    layer's rows are in `dtype`, the residual stream beside them in float32. Then the tables of the
    rotary embedding, once."""
    shapes = {name.rpartition(".")[2]: packed_shape(config, name) for name in packed_names(config)}
    layer = [shape for kind, shape in shapes.items() if kind not in ("embed", "head")]
    opened = max(rows * cols for rows, cols in layer)
    values = sum(rows + cols for rows, cols in layer)
    turns = sum(8 * len(rope.inv_freq) for rope in config.ropes) * config.context_length
    itemsize = int(dtype.itemsize)
    return 2 * (opened * itemsize + tokens * (values * itemsize + 4 * config.hidden_size)) + turns


def matrix_bytes(matrix: Matrix, width: int) -> int:
    """Bytes that a product reads at a width."""
    read = {
        0: (),
        4: (matrix.hi, matrix.row_scale),
        8: (matrix.hi, matrix.lo, matrix.row_scale),
        16: (matrix.dense,),
    }[width]
    return sum(int(part.nbytes) for part in read if part is not None)
