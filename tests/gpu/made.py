"""Random matrices, norms, caches and rows for the tests of kernels, on a GPU where there is one."""

from __future__ import annotations

import torch

from onesec.backend.gpu.ops import Heads, LayerCache, Matrix, Norm, Steps

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TOKENS = 32  # of a cache block


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed)).to(DEVICE)


def make_matrix(
    rows: int, cols: int, *, bias: bool = False, dense: torch.dtype | None = None, seed: int = 1
) -> Matrix:
    """Planes of random bytes, padding included, with row products of about one."""
    random = generator(seed)
    shape = (rows // 16, -(-cols // 64))
    hi, lo = (
        torch.randint(0, 256, (*shape, size), dtype=torch.uint8, generator=random).to(DEVICE)
        for size in (576, 512)
    )
    row_scale = (torch.rand(rows, generator=random) + 0.5) / (1000 * cols**0.5)
    values = None
    if dense is not None:
        values = (torch.randn(rows, cols, generator=random) / cols**0.5).to(DEVICE, dense)
    return Matrix(
        rows,
        cols,
        hi,
        lo,
        row_scale.to(DEVICE),
        values,
        torch.randn(rows, generator=random).to(DEVICE) if bias else None,
    )


def make_norm(size: int, *, layer: bool = False, seed: int = 2) -> Norm:
    weight = 1 + 0.1 * normal(size, seed=seed)
    return Norm(weight, 1e-5, layer, 0.1 * normal(size, seed=seed + 1) if layer else None)


def dense_of(width: int) -> torch.dtype | None:
    return torch.float32 if width == 16 else None


def make_heads(num: int, kv: int, dim: int, softcap: float = 0.0) -> Heads:
    k_offset = -(-num * dim // 16) * 16
    v_offset = k_offset + -(-kv * dim // 16) * 16
    return Heads(num, kv, dim, k_offset, v_offset, dim**-0.5, softcap)


def paged(
    heads: Heads, positions: list[int], dtype: torch.dtype, capacity: int
) -> tuple[LayerCache, Steps, torch.Tensor]:
    """A cache full of random values, a table of scattered blocks a token, and rows of qkv."""
    n, per = len(positions), capacity // TOKENS
    shape = (n * per + 1, heads.num_kv_heads, TOKENS, heads.head_dim)
    cache = LayerCache(normal(*shape, seed=7).to(dtype), normal(*shape, seed=8).to(dtype))
    blocks = torch.randperm(n * per, generator=generator(9)).view(n, per).to(torch.int32) + 1
    steps = Steps(
        torch.zeros(n, dtype=torch.int32, device=DEVICE),
        torch.tensor(positions, dtype=torch.int32, device=DEVICE),
        blocks.to(DEVICE),
    )
    padded = -(-heads.num_kv_heads * heads.head_dim // 16) * 16
    return cache, steps, normal(n, heads.v_offset + padded, seed=10)


def rotary(context: int, half: int) -> torch.Tensor:
    angles = torch.outer(torch.arange(context), 10000.0 ** -(torch.arange(half) / half))
    return torch.cat((angles.cos(), angles.sin()), 1).to(DEVICE)
