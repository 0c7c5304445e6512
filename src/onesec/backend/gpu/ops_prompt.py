"""PromptOps: many rows at once on a GPU. The library multiplies, over weights that are opened by a
kernel; all that lies between two products is one Triton launch each.

Nothing here waits for the device, so prompts can be captured in graphs. It must not know models,
gears or batches; the arithmetic is in the triton_* files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import triton
from torch import Tensor

from .ops import Heads, LayerCache, Matrix, Norm, Reader, Steps, Turn
from .ops_plain import PlainOps
from .ops_triton import ACTIVATIONS, TritonOps, dequantize, power, turning
from .triton_prompt import activate_rows, turn_rows
from .triton_prompt_attention import attend_prompt
from .triton_tiles import attention_tile

if TYPE_CHECKING:
    from .cuda_library import CudaLibrary

_FEED_COLS = 1024  # inner values a program
_TURN_VALUES = 2048  # values of heads a program
_LEAST_DOT = 16  # of a tensor core's inner sizes


class PromptOps(PlainOps):
    """Ops for prompts on one CUDA device (or, but for `library`, in Triton's interpreter).

    dtype    of the products: bfloat16, float16 or float32
    library  what opens planes where nvcc is; None: Triton does, and always in float32
    """

    def __init__(self, dtype: torch.dtype, library: CudaLibrary | None = None) -> None:
        super().__init__(dtype)
        self._kernels = TritonOps()
        self._library = None if dtype == torch.float32 else library

    def weight(self, matrix: Matrix, width: int) -> Tensor:
        """See PlainOps."""
        if width == 16:
            return super().weight(matrix, width)
        if self._library is not None:
            from .ops_cuda import open_planes

            return open_planes(self._library, matrix, width, self._dtype)
        return dequantize(matrix, width, self._dtype)

    def embed(self, tokens: Tensor, matrix: Matrix, width: int, scale: float) -> Tensor:
        """See Ops."""
        return self._kernels.embed(tokens, matrix, width, scale)

    def _normed(self, h: Tensor, norm: Norm) -> Tensor:
        """[n, hidden] in the products' dtype."""
        out = torch.empty(h.shape, dtype=self._dtype, device=h.device)
        return self._kernels.norm(h, norm, out, add=False)

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
        return self._product(self._normed(h, norm), matrix, width, first_row)

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
        a_program = min(max(_TURN_VALUES // constants["BLOCK"], 1), power(count))
        turn_rows[len(qkv), triton.cdiv(count, a_program)](
            *given, **constants, H=a_program, num_warps=4
        )

    def attention(
        self, qkv: Tensor, heads: Heads, cache: LayerCache, steps: Steps, *, window: int
    ) -> Tensor:
        """The second half of attend, of turned heads; in the products' dtype, of which the kernel
        has float16 and float32."""
        halves = self._dtype != torch.float32
        group = heads.num_heads // heads.num_kv_heads
        block = max(power(heads.head_dim), _LEAST_DOT)
        tile = attention_tile(block, halves=halves)
        out = torch.empty(
            len(qkv), heads.num_heads * heads.head_dim, dtype=self._dtype, device=qkv.device
        )
        for first, rows in steps.runs or [(i, 1) for i in range(len(qkv))]:
            attend_prompt[heads.num_kv_heads, triton.cdiv(rows * group, tile.rows)](
                qkv, cache.keys, cache.values, steps.positions, steps.tables, out,
                first, rows, qkv.stride(0), steps.tables.stride(0),
                heads.scale, heads.softcap, window,
                KV=heads.num_kv_heads, GROUP=group, D=heads.head_dim, BLOCK=block,
                TOKENS=cache.keys.shape[2], M=tile.rows, N=tile.keys, HALVES=halves,
                SOFTCAP=heads.softcap > 0.0, WINDOW=window > 0,
                num_warps=tile.warps, num_stages=tile.stages,
            )  # fmt: skip
        return out

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
            super().matmul_add(x, matrix, width, h)
            return
        self._kernels.norm(self._product(x, matrix, width), post_norm, h, add=True)

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
        y = self._product(self._normed(h, norm), matrix, width)
        out = torch.empty(len(h), size, dtype=self._dtype, device=h.device)
        activate_rows[len(h), triton.cdiv(size, _FEED_COLS)](
            y, out, size, matrix.rows // 2, y.stride(0),
            ACTIVATION=ACTIVATIONS[activation], GATED=matrix.rows >= 2 * size,
            BLOCK=min(_FEED_COLS, power(size)), num_warps=4,
        )  # fmt: skip
        return out
