"""TritonOps: the fused decode steps as Triton kernels, few launches a layer, for a CUDA graph.

Nothing here waits for the device or depends on what lies in its memory. It must not know models,
gears or batches; the arithmetic is in the triton_* files.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import triton
from torch import Tensor

from . import triton_parts as parts
from .ops import Heads, LayerCache, Matrix, Norm, Picked, Reader, Steps, Turn, floats
from .triton_attention import attend_split, join_splits
from .triton_dense import dense_product
from .triton_pick import pick_parts, pick_whole
from .triton_planes import NARROW_EXPONENT, WIDE_EXPONENT, plane_product
from .triton_rows import (
    dequantize_planes,
    embed_dense,
    embed_planes,
    norm_rows,
    turn_and_store,
)
from .triton_tiles import tiles_for

MAX_ROWS = 8  # tokens that one program multiplies; more tokens are more programs
SPLIT = 64  # positions of an attention split
_ATTENTION_WARPS = 4
_ATTENTION_STEP = 32  # positions that a program takes at a time, or more
_MOST_QUERIES = 8  # heads of one kv head that a program takes
_EMBED_COLS = 1024  # columns a program
_PICK_COLS = 4096  # logits a program
ACTIVATIONS = {
    "silu": parts.SILU.value,
    "gelu_tanh": parts.GELU_TANH.value,
    "gelu": parts.GELU.value,
    "relu": parts.RELU.value,
}


def power(n: int) -> int:
    """The smallest power of two that is at least n."""
    return 1 << (n - 1).bit_length()


def turning(
    qkv: Tensor, heads: Heads, turn: Turn, cache: LayerCache, steps: Steps, with_queries: bool
) -> tuple[int, tuple[Any, ...], dict[str, Any]]:
    """How many heads a row has to turn or store, and what the kernels that do it are given:
    arguments, and constants by name."""
    rotary, q_norm, k_norm = turn.rotary, turn.q_norm, turn.k_norm
    queries = heads.num_heads if with_queries else 0
    begin = 0 if with_queries else heads.k_offset
    given = (
        qkv, qkv if rotary is None else rotary,
        qkv if q_norm is None else q_norm.weight, qkv if k_norm is None else k_norm.weight,
        cache.keys, cache.values, steps.positions, steps.tables,
        qkv.stride(0), steps.tables.stride(0), heads.k_offset - begin, heads.v_offset - begin,
        0.0 if q_norm is None else q_norm.eps, 0.0 if k_norm is None else k_norm.eps,
    )  # fmt: skip
    constants = {
        "QUERIES": queries,
        "KV": heads.num_kv_heads,
        "D": heads.head_dim,
        "BLOCK": power(heads.head_dim),
        "HALF": 0 if rotary is None else rotary.shape[1] // 2,
        "TOKENS": cache.keys.shape[2],
        "Q_NORM": q_norm is not None,
        "K_NORM": k_norm is not None,
    }
    return queries + 2 * heads.num_kv_heads, given, constants


class TritonOps:
    """Ops for steps of a few rows on one CUDA device (or in Triton's interpreter).

    pdl: each kernel may begin while the one before it ends, and waits for it before it reads what
    it wrote (programmatic dependent launch; compute capability 9.0).
    """

    joined: ClassVar[bool] = False

    def __init__(self, *, pdl: bool = False) -> None:
        self._pdl = pdl
        self._launch: dict[str, Any] = {"launch_pdl": True} if pdl else {}

    def embed(self, tokens: Tensor, matrix: Matrix, width: int, scale: float) -> Tensor:
        """See Ops."""
        h = floats(len(tokens), matrix.cols, device=tokens.device)
        grid = (len(tokens), triton.cdiv(matrix.cols, _EMBED_COLS))
        block = min(_EMBED_COLS, power(matrix.cols))
        if width == 16:
            embed_dense[grid](
                tokens, matrix.dense, h, matrix.cols, matrix.cols, scale,
                BLOCK=block, USE_PDL=self._pdl, **self._launch,
            )  # fmt: skip
            return h
        assert matrix.hi is not None
        embed_planes[grid](
            tokens, matrix.hi, matrix.lo if width == 8 else matrix.hi, matrix.row_scale, h,
            matrix.cols, matrix.cols, matrix.hi.shape[1], scale,
            WIDTH=width, BLOCK=block, USE_PDL=self._pdl, **self._launch,
        )  # fmt: skip
        return h

    def _product(
        self,
        x: Tensor,
        norm: Norm | None,
        matrix: Matrix,
        width: int,
        out: Tensor,
        epilogue: int = parts.STORE.value,
        activation: int = parts.SILU.value,
        first_row: int = 0,
    ) -> None:
        """out [n, columns] = or += the epilogue of matrix[first_row:] · norm(x) + bias."""
        if norm is not None and norm.layer:
            x, norm = self.norm(x, norm, torch.empty_like(x), add=False), None
        n = len(x)
        rows = matrix.rows - first_row
        block = min(power(n), MAX_ROWS)
        shared: dict[str, Any] = {
            "RMS": norm is not None,
            "EPILOGUE": epilogue,
            "ACTIVATION": activation,
            "HAS_BIAS": matrix.bias is not None,
            "N": block,
            "USE_PDL": self._pdl,
            "enable_fp_fusion": False,  # a compiler's choice, which may differ with the tokens
            **self._launch,
        }
        bias = x if matrix.bias is None else matrix.bias[first_row:]
        gain, eps = (x, 0.0) if norm is None else (norm.weight, norm.eps)
        gated = epilogue == parts.GATE.value
        tiling = tiles_for(width, rows, matrix.cols, gated=gated)
        count, warps = tiling.pieces, tiling.warps
        shared["EVEN"] = tiling.even and n % block == 0
        if width == 16:
            assert matrix.dense is not None
            dense_product[triton.cdiv(rows, count), triton.cdiv(n, block)](
                matrix.dense[first_row:], x, gain, bias, out, n, matrix.cols, rows, rows // 2,
                out.shape[1], eps, R=count, W=warps, num_warps=warps, **shared,
            )  # fmt: skip
            return
        assert matrix.hi is not None
        assert matrix.row_scale is not None
        tile = first_row // 16
        hi = matrix.hi[tile:]
        words = hi.view(torch.int32)
        lo = words if width == 4 or matrix.lo is None else matrix.lo[tile:].view(torch.int32)
        plane_product[triton.cdiv(rows // 16, count), triton.cdiv(n, block)](
            words, lo, hi, matrix.row_scale[first_row:], x, gain, bias, out, n, matrix.cols,
            hi.shape[1], rows // 16, rows // 32, out.shape[1], eps,
            WIDE_EXPONENT, NARROW_EXPONENT,
            WIDTH=width, T=count, W=warps, num_warps=warps, **shared,
        )  # fmt: skip

    def norm(self, x: Tensor, norm: Norm, out: Tensor, *, add: bool) -> Tensor:
        """out [n, size] = or += norm(x[:, :size]), each in any float dtype."""
        size = out.shape[1]
        block = power(size)
        norm_rows[(len(x),)](
            x, norm.weight, norm.weight if norm.bias is None else norm.bias, out, size,
            x.stride(0), norm.eps, LAYER=norm.layer, HAS_BIAS=norm.bias is not None, ADD=add,
            BLOCK=block, num_warps=min(max(block // 512, 1), 16), USE_PDL=self._pdl,
            **self._launch,
        )  # fmt: skip
        return out

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
        out = floats(len(h), matrix.rows - first_row, device=h.device)
        self._product(h, norm, matrix, width, out, first_row=first_row)
        return out

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
        count, given, constants = turning(qkv, heads, turn, cache, steps, with_queries)
        turn_and_store[len(qkv), count](
            *given, **constants, USE_PDL=self._pdl, num_warps=1, **self._launch
        )

    def attention(
        self, qkv: Tensor, heads: Heads, cache: LayerCache, steps: Steps, *, window: int
    ) -> Tensor:
        """The second half of attend, of turned heads. A split of positions that no token reaches
        ends at once."""
        n, tokens = len(qkv), cache.keys.shape[2]
        splits = triton.cdiv(steps.tables.shape[1] * tokens, SPLIT)
        group = heads.num_heads // heads.num_kv_heads
        queries = min(power(group), _MOST_QUERIES)
        block = power(heads.head_dim)
        lanes = max(block // 8, 1)
        streams = 32 * _ATTENTION_WARPS // lanes
        shape = (n, heads.num_heads, splits)
        sums = floats(*shape, heads.head_dim, device=qkv.device)
        tops, weights = (floats(*shape, device=qkv.device) for _ in range(2))
        attend_split[splits, heads.num_kv_heads * triton.cdiv(group, queries), n](
            qkv, cache.keys, cache.values, steps.positions, steps.tables, sums, tops, weights,
            qkv.stride(0), steps.tables.stride(0), splits, heads.scale, heads.softcap, window,
            KV=heads.num_kv_heads, GROUP=group, G=queries, D=heads.head_dim, L=lanes, P=streams,
            U=max(_ATTENTION_STEP // streams, 1), TOKENS=tokens, SPLIT=SPLIT,
            SOFTCAP=heads.softcap > 0.0, WINDOW=window > 0,
            USE_PDL=self._pdl, num_warps=_ATTENTION_WARPS, **self._launch,
        )  # fmt: skip
        out = floats(n, heads.num_heads * heads.head_dim, device=qkv.device)
        join_splits[heads.num_heads, n](
            sums, tops, weights, steps.positions, out, splits, window,
            HEADS=heads.num_heads, D=heads.head_dim, BLOCK=block, SPLIT=SPLIT, CHUNK=32,
            WINDOW=window > 0, USE_PDL=self._pdl, num_warps=4, **self._launch,
        )  # fmt: skip
        return out

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
        if post_norm is None:
            self._product(x, None, matrix, width, h, parts.ADD.value)
            return
        y = torch.empty_like(h)
        self._product(x, None, matrix, width, y)
        self.norm(y, post_norm, h, add=True)

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
        out = floats(len(h), size, device=h.device)
        gated = matrix.rows >= 2 * size
        epilogue = (parts.GATE if gated else parts.ACTIVATE).value
        self._product(h, norm, matrix, width, out, epilogue, ACTIVATIONS[activation])
        return out

    def pick(self, logits: Tensor, steps: Steps | None = None) -> Picked:
        """See Ops."""
        n, vocab = logits.shape
        count = triton.cdiv(vocab, _PICK_COLS)
        device = logits.device
        parts_of = floats(n, count, 4, device=device)
        at = torch.empty(n, count, dtype=torch.int32, device=device)
        pick_parts[count, n](
            logits, parts_of, at, vocab, logits.stride(0), count,
            BLOCK=_PICK_COLS, USE_PDL=self._pdl, num_warps=8, **self._launch,
        )  # fmt: skip
        picked = Picked(torch.empty(4, n, dtype=torch.int32, device=device))
        tokens, positions = (at, at) if steps is None else (steps.tokens, steps.positions)
        pick_whole[(n,)](
            parts_of, at, picked.packed, tokens, positions, count, n,
            BLOCK=power(count), MOVE=steps is not None, USE_PDL=self._pdl, num_warps=1,
            **self._launch,
        )  # fmt: skip
        return picked


def dequantize(matrix: Matrix, width: int, dtype: torch.dtype) -> Tensor:
    """[rows, cols]: what the planes stand for at width 4 or 8, for the library's parts."""
    assert matrix.hi is not None
    assert matrix.row_scale is not None
    out = torch.empty(matrix.rows, matrix.cols, dtype=dtype, device=matrix.hi.device)
    words = matrix.hi.view(torch.int32)
    lo = words if width == 4 or matrix.lo is None else matrix.lo.view(torch.int32)
    superblocks = matrix.hi.shape[1]
    dequantize_planes[matrix.rows // 16, triton.cdiv(superblocks, 4)](
        words, lo, matrix.hi, matrix.row_scale, out, matrix.cols, superblocks,
        WIDTH=width, S=4, num_warps=4,
    )  # fmt: skip
    return out
