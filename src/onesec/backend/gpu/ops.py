"""Ops: the fused steps that the torch transformer is made of, and the device tensors they work on.

`ops_plain` says with torch alone what each of them computes; `ops_triton` and `ops_cuda` do it
fast. It must not know models, gears, batches or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Matrix:
    """A weight matrix [rows, cols] on the device, at every width that is at hand.

    rows       padded: each segment (q, k, v; gate, up) begins at a multiple of 16
    hi, lo     uint8 [tiles, superblocks, 576] and [tiles, superblocks, 512]: the planes byte for
               byte as native/planes.h has them (tiles of 16 rows, superblocks of 64 columns);
               None where there are none
    row_scale  float32 [rows], with the planes
    dense      [rows, cols] float32, float16 or bfloat16, contiguous: the 16-bit width; or None
    bias       float32 [rows], or None
    """

    rows: int
    cols: int
    hi: Tensor | None = None
    lo: Tensor | None = None
    row_scale: Tensor | None = None
    dense: Tensor | None = None
    bias: Tensor | None = None


def floats(*shape: int, device: torch.device) -> Tensor:
    """float32, not yet set: what kernels write, whatever dtype is torch's default."""
    return torch.empty(shape, dtype=torch.float32, device=device)


@dataclass(frozen=True, slots=True)
class Norm:
    """Over the last axis: RMS norm (x / sqrt(mean(x²) + eps) * weight), or with `layer` a layer
    norm (mean taken off, bias added). weight, bias: float32 [size]."""

    weight: Tensor
    eps: float
    layer: bool = False
    bias: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Reader:
    """The product that reads next what an op gives: matrix · norm(x) at a width, or matrix · x."""

    matrix: Matrix
    width: int
    norm: Norm | None = None


@dataclass(frozen=True, slots=True)
class Heads:
    """Where the heads lie in a row of qkv: q at 0, k and v at their offsets, each head `head_dim`
    values; query head i reads kv head i // (num_heads // num_kv_heads). Scores are q·k * scale,
    with `softcap` > 0 then softcap * tanh(score / softcap)."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    k_offset: int
    v_offset: int
    scale: float
    softcap: float = 0.0


@dataclass(frozen=True, slots=True)
class Turn:
    """What is done to each head of q and k: an RMS norm over its values, then a rotation.

    rotary: float32 [context, 2 * half]: a position's cosines, then its sines; the pairs are
    (i, i + half) of a head's first 2 * half values, the others stay. None: no rotation.
    """

    rotary: Tensor | None = None
    q_norm: Norm | None = None
    k_norm: Norm | None = None


@dataclass(frozen=True, slots=True)
class LayerCache:
    """One layer's keys and values, each [blocks, num_kv_heads, block tokens, head_dim] in the
    cache's dtype (float16, bfloat16 or float32)."""

    keys: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True)
class Steps:
    """Tokens that are run together, each at a position of some sequence.

    tokens     int32 [n]
    positions  int32 [n]
    tables     int32 [n, blocks]: the block table of each token's sequence. Several tokens of one
               sequence (a draft, a prompt) have the same table and follow one another
    runs       (first row, rows) of each sequence in turn, all with the table of their first row:
               prompts. Rows that are not used come last, at position 0. None: n is small, and each
               row is looked at by itself
    """

    tokens: Tensor
    positions: Tensor
    tables: Tensor
    runs: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True, slots=True)
class Picked:
    """Of each row of logits: its likeliest token int32 [n] (of equal ones the first), that token's
    log-probability, the distribution's entropy in nats and its margin p1 - p2, float32 [n]. Where a
    logit is not finite the log-probability is NaN, and the token some id of the vocabulary.

    packed: int32 [4, n], the four of them one after another; floats by their bits
    """

    packed: Tensor

    @property
    def tokens(self) -> Tensor:
        return self.packed[0]

    @property
    def logprobs(self) -> Tensor:
        return self.packed[1].view(torch.float32)

    @property
    def entropies(self) -> Tensor:
        return self.packed[2].view(torch.float32)

    @property
    def margins(self) -> Tensor:
        return self.packed[3].view(torch.float32)


class Ops(Protocol):
    """Sums are float32. n: rows of the step. Widths are 4, 8 (both planes) or 16 (dense).

    A row's values depend on no other row of the step. `h` is the residual stream, float32
    [n, hidden]; what `attend` and `norm_feed` return is for `matmul_add` alone, in whatever
    form an implementation likes. An op that is told who reads its result may return what that
    product then needs not prepare, `ready`: of this h, for this norm, for one product.

    joined: whether ranks meet in these ops (see parallel), which then must run the same steps.
    """

    joined: ClassVar[bool]

    def embed(self, tokens: Tensor, matrix: Matrix, width: int, scale: float) -> Tensor:
        """h of tokens int32 [n]: the matrix's rows, times scale."""
        ...

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
        """[n, rows - first_row]: matrix · norm(h) + bias, of the rows from `first_row` (a multiple
        of 16) on; in float32, or in the dtype that the products have."""
        ...

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
        """Norm and turn the heads of q and k in place, then write k and v into the cache. Without
        queries, qkv holds the rows from heads.k_offset on."""
        ...

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
    ) -> Any:
        """As rope_and_store; then [n, num_heads * head_dim]: each row attends to the positions of
        its sequence up to its own; to the last `window` of them, its own counted, where window > 0.
        What qkv holds afterwards is not told."""
        ...

    def matmul_add(
        self,
        x: Any,
        matrix: Matrix,
        width: int,
        h: Tensor,
        post_norm: Norm | None = None,
        reader: Reader | None = None,
    ) -> Any:
        """h += matrix · x + bias; with a post_norm, h += post_norm(matrix · x + bias). Returns what
        is `ready` for the reader of h, or None."""
        ...

    def norm_feed(
        self,
        h: Tensor,
        norm: Norm,
        matrix: Matrix,
        width: int,
        activation: str,
        size: int,
        ready: Any = None,
    ) -> Any:
        """[n, size]: the inner values of an FFN. y = matrix · norm(h) + bias; where the matrix has
        a gate (rows >= 2 * size: gate, then up at half of the rows), activation(gate) * up, else
        activation(y). `activation`: silu, gelu_tanh, gelu or relu."""
        ...

    def pick(self, logits: Tensor, steps: Steps | None = None) -> Picked:
        """Of logits float32 [n, vocab]. With `steps`, which led to them, the picked tokens are set
        there at the positions that follow: the next step."""
        ...
