"""Tensor parallelism inside a replica: each rank holds some heads and FFN neurons of every layer.

Every rank runs the same steps on its part; the two sums of a layer are joined by an all-reduce, so
that the residual stream, and with it every token, is the same on all ranks. Embedding and head are
held whole. After Megatron-LM (arXiv 1909.08053). It must not know batches or files.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor

from onesec.core.errors import InvalidRequest
from onesec.model.config import ModelConfig
from onesec.model.names import segment_rows
from onesec.model.planes import GROUP_COLS, GROUP_ROWS

from .ops import Matrix, Norm, Reader
from .ops_plain import normed
from .transformer import Weights


def shard(
    config: ModelConfig, weights: Weights, rank: int, ranks: int
) -> tuple[ModelConfig, Weights]:
    """The part of one rank: its config (fewer heads, a narrower FFN) and its weights.

    Raises InvalidRequest where heads or FFN cannot be divided into whole tiles of the planes.
    """
    q, kv = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    sizes = {"heads": config.num_heads, "kv heads": config.num_kv_heads}
    rows = {"rows of q": q, "rows of k": kv, "FFN neurons": config.intermediate_size}
    cols = {"rows of q": q, "FFN neurons": config.intermediate_size}
    for unit, counts in ((1, sizes), (GROUP_ROWS, rows), (GROUP_COLS, cols)):
        for what, count in counts.items():
            if count % (ranks * unit):
                raise InvalidRequest(
                    f"{count} {what} cannot be divided among {ranks} ranks in multiples of {unit}.",
                    hint="Use fewer ranks.",
                )
    layers = tuple(
        replace(
            layer,
            qkv=_rows(layer.qkv, segment_rows(config, "qkv"), rank, ranks),
            o=_cols(layer.o, rank, ranks),
            up=_rows(
                layer.up, segment_rows(config, "gate_up" if config.gated else "up"), rank, ranks
            ),
            down=_cols(layer.down, rank, ranks),
        )
        for layer in weights.layers
    )
    local = replace(
        config,
        num_heads=config.num_heads // ranks,
        num_kv_heads=config.num_kv_heads // ranks,
        intermediate_size=config.intermediate_size // ranks,
    )
    return local, replace(weights, layers=layers)


def _rows(matrix: Matrix, segments: tuple[int, ...], rank: int, ranks: int) -> Matrix:
    """This rank's share of each segment's rows."""

    def part(values: Tensor | None, unit: int) -> Tensor | None:
        if values is None:
            return None
        parts, begin = [], 0
        for rows in segments:
            share = rows // ranks // unit
            parts.append(values[begin + rank * share : begin + (rank + 1) * share])
            begin += rows // unit
        return torch.cat(parts)

    return Matrix(
        rows=sum(segments) // ranks,
        cols=matrix.cols,
        hi=part(matrix.hi, GROUP_ROWS),
        lo=part(matrix.lo, GROUP_ROWS),
        row_scale=part(matrix.row_scale, 1),
        dense=part(matrix.dense, 1),
        bias=part(matrix.bias, 1),
    )


def _cols(matrix: Matrix, rank: int, ranks: int) -> Matrix:
    """This rank's share of the columns; the bias stays with the first rank."""

    def part(values: Tensor | None) -> Tensor | None:
        if values is None:
            return None
        return values.tensor_split(ranks, dim=1)[rank].contiguous()

    return replace(
        matrix,
        cols=matrix.cols // ranks,
        hi=part(matrix.hi),
        lo=part(matrix.lo),
        dense=part(matrix.dense),
        bias=matrix.bias if rank == 0 else None,
    )


class Joined:
    """In front of an Ops: its products on a rank's part, their sums joined over all ranks.

    Ranks read different clocks, and those that stopped after different steps would wait for each
    other: a batch's `until_ns` is not looked at, and its steps end at `max_steps` or a stop id.

    >>> class ParallelOps(Joined, PlainOps): ...  # doctest: +SKIP
    """

    joined: ClassVar[bool] = True

    def matmul_add(
        self,
        x: Any,
        matrix: Matrix,
        width: int,
        h: Tensor,
        post_norm: Norm | None = None,
        reader: Reader | None = None,
    ) -> Any:
        """See Ops; the only place where ranks meet. A part of a sum is ready for nobody."""
        part = torch.zeros_like(h)
        super().matmul_add(x, matrix, width, part)  # type: ignore[misc]
        dist.all_reduce(part)
        h += part if post_norm is None else normed(part, post_norm)
