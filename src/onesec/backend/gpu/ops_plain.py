"""PlainOps: what every fused step computes, in torch alone and on any device.

In float32 it is the reference of the fast kernels. What it has of products, over weights that are
opened once for many rows, is what runs prompts. It must not know models, gears or batches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from onesec.model.planes import MINIMUM_UNIT, RESIDUAL_ZERO, SCALES

from .ops import Heads, LayerCache, Matrix, Norm, Picked, Reader, Steps, Turn

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu": F.gelu,
    "relu": F.relu,
}


def _codes(plane: Tensor) -> Tensor:
    """[tiles, superblocks, bytes] -> float32 [tiles, 16 rows, superblocks, 64]: the nibbles."""
    tiles, blocks = plane.shape[:2]
    lines = plane[..., :SCALES].view(tiles, blocks, 8, 16, 1, 4)
    nibbles = torch.cat((lines & 15, lines >> 4), 4)  # [tile, block, line, row, half, 4]
    return nibbles.permute(0, 3, 1, 2, 4, 5).reshape(tiles, 16, blocks, 64).float()


def plane_values(matrix: Matrix, width: int) -> Tensor:
    """float32 [rows, cols]: what the planes stand for at width 4 or 8 (see native/planes.h)."""
    assert matrix.hi is not None
    assert matrix.lo is not None
    assert matrix.row_scale is not None
    codes = _codes(matrix.hi)
    if width == 8:
        codes += (_codes(matrix.lo) - RESIDUAL_ZERO) / 16
    tiles, _, blocks, _ = codes.shape
    ends = matrix.hi[..., SCALES:].view(tiles, blocks, 2, 2, 16).permute(2, 0, 4, 1, 3).float()
    scale, minimum = (end.reshape(tiles, 16, blocks, 2, 1) for end in ends)
    grouped = codes.view(tiles, 16, blocks, 2, 32)
    values = (scale * grouped - MINIMUM_UNIT * minimum).reshape(matrix.rows, blocks * 64)
    return (values * matrix.row_scale[:, None])[:, : matrix.cols]


def normed(x: Tensor, norm: Norm) -> Tensor:
    """The norm of float32 values over their last axis."""
    if norm.layer:
        return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)
    return F.rms_norm(x, x.shape[-1:], norm.weight, norm.eps)


def rotated(x: Tensor, rotary: Tensor) -> Tensor:
    """Heads [n, heads, head_dim] turned by rotary [n, 2 * half]."""
    half = rotary.shape[-1] // 2
    cos, sin = rotary[:, None, :half], rotary[:, None, half:]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat((first * cos - second * sin, second * cos + first * sin, rest), -1)


class PlainOps:
    """Ops in torch; products in `dtype`, everything else in float32."""

    joined: ClassVar[bool] = False

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self._dtype = dtype

    def weight(self, matrix: Matrix, width: int) -> Tensor:
        """[rows, cols] in this dtype: the matrix at a width."""
        if width == 16:
            assert matrix.dense is not None
            return matrix.dense.to(self._dtype)
        return plane_values(matrix, width).to(self._dtype)

    def embed(self, tokens: Tensor, matrix: Matrix, width: int, scale: float) -> Tensor:
        """See Ops."""
        index = tokens.long()
        if width == 16:
            dense = self.weight(matrix, 16)
            return dense[index].float() * scale
        assert matrix.hi is not None
        assert matrix.lo is not None
        assert matrix.row_scale is not None
        tiles = index // 16
        lo = matrix.lo[tiles] if width == 8 else matrix.lo  # a narrow matrix has none
        opened = plane_values(
            Matrix(
                16 * len(index),
                matrix.cols,
                matrix.hi[tiles],
                lo,
                matrix.row_scale.view(-1, 16)[tiles].reshape(-1),
            ),
            width,
        )
        return opened[torch.arange(len(index), device=index.device) * 16 + index % 16] * scale

    def _product(self, x: Tensor, matrix: Matrix, width: int, first_row: int = 0) -> Tensor:
        bias = None if matrix.bias is None else matrix.bias[first_row:].to(self._dtype)
        return F.linear(x.to(self._dtype), self.weight(matrix, width)[first_row:], bias)

    def norm_matmul(
        self,
        h: Tensor,
        norm: Norm,
        matrix: Matrix,
        width: int,
        *,
        first_row: int = 0,
        ready: Any = None,
    ) -> Tensor:
        """See Ops."""
        return self._product(normed(h, norm), matrix, width, first_row)

    def rope_and_store(
        self,
        qkv: Tensor,
        heads: Heads,
        turn: Turn,
        cache: LayerCache,
        steps: Steps,
        *,
        with_queries: bool = True,
    ) -> None:
        """See Ops."""
        begin = 0 if with_queries else heads.k_offset
        turns = None if turn.rotary is None else turn.rotary[steps.positions.long()]
        parts = [(heads.k_offset, heads.num_kv_heads, turn.k_norm)]
        if with_queries:
            parts.append((0, heads.num_heads, turn.q_norm))
        for offset, count, norm in parts:
            if norm is None and turns is None:
                continue
            view = qkv[:, offset - begin : offset - begin + count * heads.head_dim]
            part = view.reshape(-1, count, heads.head_dim).float()
            if norm is not None:
                part = normed(part, norm)
            if turns is not None:
                part = rotated(part, turns)
            view.copy_(part.reshape(view.shape))
        size = cache.keys.shape[2]
        positions = steps.positions.long()
        blocks = steps.tables.gather(1, (positions // size)[:, None])[:, 0].long()
        for pool, offset in ((cache.keys, heads.k_offset), (cache.values, heads.v_offset)):
            view = qkv[:, offset - begin : offset - begin + heads.num_kv_heads * heads.head_dim]
            rows = view.reshape(-1, heads.num_kv_heads, heads.head_dim)
            pool[blocks, :, positions % size] = rows.to(pool.dtype)

    def attention(
        self, qkv: Tensor, heads: Heads, cache: LayerCache, steps: Steps, *, window: int
    ) -> Tensor:
        """The second half of attend, of turned heads. The host waits for the positions."""
        n, size = len(qkv), cache.keys.shape[2]
        out = qkv.new_empty(n, heads.num_heads * heads.head_dim)
        for first, count in steps.runs or [(i, 1) for i in range(n)]:
            rows = slice(first, first + count)
            at = steps.positions[rows, None]
            end = int(at.max()) + 1
            table = steps.tables[first, : -(-end // size)].long()
            keys, values = (  # [kv heads, end, head_dim]
                pool[table].transpose(0, 1).flatten(1, 2)[:, :end].float()
                for pool in (cache.keys, cache.values)
            )
            queries = qkv[rows, : heads.num_heads * heads.head_dim].float()
            queries = queries.view(count, heads.num_heads, heads.head_dim).transpose(0, 1)
            seen = torch.arange(end, device=at.device)
            visible = (seen <= at) if window == 0 else (seen <= at) & (seen > at - window)
            found = self._attend(queries, keys, values, visible, heads)
            out[rows] = found.transpose(0, 1).flatten(1)
        return out

    def _attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, visible: Tensor, heads: Heads
    ) -> Tensor:
        """[heads, count, head_dim]: of queries, each over the keys that its row of visible
        [count, total] has."""
        group = heads.num_heads // heads.num_kv_heads
        keys, values = keys.repeat_interleave(group, 0), values.repeat_interleave(group, 0)
        scores = queries @ keys.transpose(1, 2) * heads.scale
        if heads.softcap > 0.0:
            scores = heads.softcap * torch.tanh(scores / heads.softcap)
        return scores.masked_fill(~visible, float("-inf")).softmax(-1) @ values

    def attend(
        self,
        qkv: Tensor,
        heads: Heads,
        turn: Turn,
        cache: LayerCache,
        steps: Steps,
        *,
        window: int,
        reader: Reader | None = None,
    ) -> Tensor:
        """See Ops."""
        self.rope_and_store(qkv, heads, turn, cache, steps)
        return self.attention(qkv, heads, cache, steps, window=window)

    def matmul_add(
        self,
        x: Tensor,
        matrix: Matrix,
        width: int,
        h: Tensor,
        post_norm: Norm | None = None,
        reader: Reader | None = None,
    ) -> Any:
        """See Ops."""
        y = self._product(x, matrix, width)[:, : h.shape[1]]
        h += y if post_norm is None else normed(y.float(), post_norm)

    def norm_feed(
        self,
        h: Tensor,
        norm: Norm,
        matrix: Matrix,
        width: int,
        activation: str,
        size: int,
        ready: Any = None,
    ) -> Tensor:
        """See Ops."""
        y = self._product(normed(h, norm), matrix, width)
        act = ACTIVATIONS[activation]
        if matrix.rows < 2 * size:
            return act(y[:, :size])
        half = matrix.rows // 2
        return act(y[:, :size]) * y[:, half : half + size]

    def pick(self, logits: Tensor, steps: Steps | None = None) -> Picked:
        """See Ops."""
        best, token = logits.max(-1)
        second = logits.scatter(-1, token[:, None], float("-inf")).max(-1).values
        logs = logits - torch.logsumexp(logits, -1, keepdim=True)
        logprob = logs.gather(-1, token[:, None])[:, 0]
        entropy = -(logs.exp() * logs.clamp(min=-1e4)).sum(-1)
        margin = logprob.exp() * (1 - (second - best).exp())
        logprob = logprob.masked_fill(~logits.isfinite().all(-1), float("nan"))
        told = torch.stack((logprob, entropy, margin)).float().view(torch.int32)
        picked = Picked(torch.cat((token.int()[None], told)))
        if steps is not None:
            steps.tokens.copy_(picked.tokens)
            steps.positions.add_(1)
        return picked
