"""Every op of TritonOps gives what PlainOps gives, over odd sizes; a row's bits depend on no other
row. On a GPU where there is one, else in Triton's interpreter."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("triton", reason="triton is not installed")

import torch

from onesec.backend.gpu.ops import Heads, LayerCache, Matrix, Norm, Steps, Turn
from onesec.backend.gpu.ops_plain import PlainOps, plane_values
from onesec.backend.gpu.ops_triton import TritonOps, dequantize

pytestmark = [pytest.mark.triton, pytest.mark.filterwarnings("default")]

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PLAIN, TRITON = PlainOps(torch.float32), TritonOps()
TOKENS = 32  # of a cache block
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=_generator(seed)).to(DEVICE)


def _matrix(
    rows: int, cols: int, *, bias: bool = False, dense: torch.dtype | None = None, seed: int = 1
) -> Matrix:
    """Planes of random bytes, padding included, with row products of about one."""
    generator = _generator(seed)
    shape = (rows // 16, -(-cols // 64))
    hi, lo = (
        torch.randint(0, 256, (*shape, size), dtype=torch.uint8, generator=generator).to(DEVICE)
        for size in (576, 512)
    )
    row_scale = (torch.rand(rows, generator=generator) + 0.5) / (1000 * cols**0.5)
    values = None
    if dense is not None:
        values = (torch.randn(rows, cols, generator=generator) / cols**0.5).to(DEVICE, dense)
    return Matrix(
        rows,
        cols,
        hi,
        lo,
        row_scale.to(DEVICE),
        values,
        torch.randn(rows, generator=generator).to(DEVICE) if bias else None,
    )


def _norm(size: int, *, layer: bool = False, seed: int = 2) -> Norm:
    weight = 1 + 0.1 * _normal(size, seed=seed)
    return Norm(weight, 1e-5, layer, 0.1 * _normal(size, seed=seed + 1) if layer else None)


def _dense_of(width: int) -> torch.dtype | None:
    return torch.float32 if width == 16 else None


@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize("cols", [40, 64, 131, 328, 512])
@pytest.mark.parametrize("n", [1, 3])
def test_norm_matmul(width: int, cols: int, n: int) -> None:
    h = _normal(n, cols)
    matrix = _matrix(48, cols, bias=cols != 64, dense=_dense_of(width))
    norm = _norm(cols, layer=cols == 131)
    for first_row in (0, 16):
        want = PLAIN.norm_matmul(h, norm, matrix, width, first_row=first_row)
        got = TRITON.norm_matmul(h, norm, matrix, width, first_row=first_row)
        torch.testing.assert_close(got, want, **CLOSE)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 16])
@pytest.mark.parametrize("width", [4, 8, 16])
def test_row_depends_on_no_other_row(width: int, n: int) -> None:
    h, matrix, norm = _normal(n, 200), _matrix(32, 200, dense=_dense_of(width)), _norm(200)
    together = TRITON.norm_matmul(h, norm, matrix, width)
    torch.testing.assert_close(together, PLAIN.norm_matmul(h, norm, matrix, width), **CLOSE)
    assert torch.equal(together, TRITON.norm_matmul(h, norm, matrix, width))
    for i in range(0, n, 3):
        alone = TRITON.norm_matmul(h[i : i + 1].clone(), norm, matrix, width)
        assert torch.equal(alone[0], together[i])


@pytest.mark.parametrize("dense", [torch.float16, torch.bfloat16])
def test_dense_halves(dense: torch.dtype) -> None:
    if dense == torch.bfloat16 and DEVICE.type == "cpu":
        pytest.skip("the interpreter does not compute in bfloat16")
    h, matrix, norm = _normal(2, 264), _matrix(32, 264, dense=dense), _norm(264)
    want = PLAIN.norm_matmul(h, norm, matrix, 16)
    torch.testing.assert_close(TRITON.norm_matmul(h, norm, matrix, 16), want, **CLOSE)


@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize(("activation", "gated"), [
    ("silu", True), ("gelu_tanh", True), ("gelu", False), ("relu", False), ("gelu", True),
])  # fmt: skip
def test_norm_feed(width: int, activation: str, gated: bool) -> None:
    size, padded, cols = 40, 48, 72
    rows = 2 * padded if gated else padded
    matrix = _matrix(rows, cols, bias=not gated, dense=_dense_of(width))
    h, norm = _normal(3, cols), _norm(cols, layer=not gated)
    want = PLAIN.norm_feed(h, norm, matrix, width, activation, size)
    got = TRITON.norm_feed(h, norm, matrix, width, activation, size)
    torch.testing.assert_close(got, want, **CLOSE)


@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize("post", [False, True])
def test_matmul_add(width: int, post: bool) -> None:
    hidden, cols = 40, 136
    matrix = _matrix(48, cols, bias=True, dense=_dense_of(width))
    x, h = _normal(3, cols, seed=5), _normal(3, hidden, seed=6)
    post_norm = _norm(hidden) if post else None
    want = h.clone()
    PLAIN.matmul_add(x, matrix, width, want, post_norm)
    TRITON.matmul_add(x, matrix, width, h, post_norm)
    torch.testing.assert_close(h, want, **CLOSE)


@pytest.mark.parametrize("width", [4, 8, 16])
def test_embed(width: int) -> None:
    matrix = _matrix(64, 131, dense=_dense_of(width))
    tokens = torch.tensor([0, 63, 17, 17, 40], dtype=torch.int32, device=DEVICE)
    want = PLAIN.embed(tokens, matrix, width, 1.5)
    torch.testing.assert_close(TRITON.embed(tokens, matrix, width, 1.5), want, **CLOSE)


@pytest.mark.parametrize("width", [4, 8])
@pytest.mark.parametrize("cols", [64, 320, 131])
def test_dequantize(width: int, cols: int) -> None:
    matrix = _matrix(32, cols)
    got = dequantize(matrix, width, torch.float32)
    torch.testing.assert_close(got, plane_values(matrix, width), rtol=1e-6, atol=1e-6)
    halves = dequantize(matrix, width, torch.float16)
    assert torch.equal(halves, got.to(torch.float16))


def _heads(num: int, kv: int, dim: int, softcap: float = 0.0) -> Heads:
    k_offset = -(-num * dim // 16) * 16
    v_offset = k_offset + -(-kv * dim // 16) * 16
    return Heads(num, kv, dim, k_offset, v_offset, dim**-0.5, softcap)


def _paged(
    heads: Heads, positions: list[int], dtype: torch.dtype, capacity: int
) -> tuple[LayerCache, Steps, torch.Tensor]:
    """A cache full of random values, a table of scattered blocks a token, and rows of qkv."""
    n, per = len(positions), capacity // TOKENS
    shape = (n * per + 1, heads.num_kv_heads, TOKENS, heads.head_dim)
    cache = LayerCache(_normal(*shape, seed=7).to(dtype), _normal(*shape, seed=8).to(dtype))
    blocks = torch.randperm(n * per, generator=_generator(9)).view(n, per).to(torch.int32) + 1
    steps = Steps(
        torch.zeros(n, dtype=torch.int32, device=DEVICE),
        torch.tensor(positions, dtype=torch.int32, device=DEVICE),
        blocks.to(DEVICE),
    )
    padded = -(-heads.num_kv_heads * heads.head_dim // 16) * 16
    return cache, steps, _normal(n, heads.v_offset + padded, seed=10)


def _rotary(context: int, half: int) -> torch.Tensor:
    angles = torch.outer(torch.arange(context), 10000.0 ** -(torch.arange(half) / half))
    return torch.cat((angles.cos(), angles.sin()), 1).to(DEVICE)


@pytest.mark.parametrize("with_queries", [True, False])
@pytest.mark.parametrize(("num", "kv", "dim", "half", "qk_norm", "dtype"), [
    (4, 2, 16, 8, False, torch.float32),
    (3, 1, 24, 6, True, torch.float16),
    (4, 4, 64, 32, True, torch.float32),
    (2, 1, 96, 48, False, torch.float16),
    (2, 2, 128, 0, False, torch.float32),
])  # fmt: skip
def test_rope_and_store(
    num: int, kv: int, dim: int, half: int, qk_norm: bool, dtype: torch.dtype, with_queries: bool
) -> None:
    heads = _heads(num, kv, dim)
    cache, steps, qkv = _paged(heads, [0, 37, 63], dtype, 64)
    qkv = qkv if with_queries else qkv[:, heads.k_offset :].contiguous()
    rotary = _rotary(64, half) if half else None
    norms = (_norm(dim, seed=20), _norm(dim, seed=30)) if qk_norm else (None, None)
    turn = Turn(rotary, *norms)
    want, wanted = qkv.clone(), LayerCache(cache.keys.clone(), cache.values.clone())
    PLAIN.rope_and_store(want, heads, turn, wanted, steps, with_queries=with_queries)
    TRITON.rope_and_store(qkv, heads, turn, cache, steps, with_queries=with_queries)
    if with_queries:
        width = num * dim
        torch.testing.assert_close(qkv[:, :width], want[:, :width], **CLOSE)
    near = CLOSE if dtype == torch.float32 else {"rtol": 1e-3, "atol": 1e-3}
    torch.testing.assert_close(cache.keys, wanted.keys, **near)
    torch.testing.assert_close(cache.values, wanted.values, **near)


@pytest.mark.parametrize(("num", "kv", "dim", "window", "softcap", "dtype"), [
    (4, 2, 16, 0, 0.0, torch.float32),
    (3, 1, 24, 0, 0.0, torch.float16),
    (2, 2, 64, 40, 0.0, torch.float32),
    (8, 1, 96, 0, 30.0, torch.float16),
    (5, 1, 128, 150, 20.0, torch.float32),
])  # fmt: skip
def test_attention(
    num: int, kv: int, dim: int, window: int, softcap: float, dtype: torch.dtype
) -> None:
    heads = _heads(num, kv, dim, softcap)
    cache, steps, qkv = _paged(heads, [0, 31, 127, 300], dtype, 320)
    want = PLAIN.attention(qkv, heads, cache, steps, window=window)
    got = TRITON.attention(qkv, heads, cache, steps, window=window)
    torch.testing.assert_close(got, want, **CLOSE)
    alone = Steps(steps.tokens[3:], steps.positions[3:], steps.tables[3:])
    again = TRITON.attention(qkv[3:], heads, cache, alone, window=window)
    assert torch.equal(again[0], got[3])


def test_attention_of_a_longer_table() -> None:
    heads = _heads(2, 1, 32)
    cache, steps, qkv = _paged(heads, [140], torch.float32, 160)
    spare = torch.zeros(1, 9, dtype=torch.int32, device=DEVICE)
    longer = Steps(steps.tokens, steps.positions, torch.cat((steps.tables, spare), 1))
    want = TRITON.attention(qkv, heads, cache, steps, window=0)
    assert torch.equal(TRITON.attention(qkv, heads, cache, longer, window=0), want)


@pytest.mark.parametrize("vocab", [7, 4096, 10007])
def test_pick(vocab: int) -> None:
    padded = 3 * _normal(4, vocab + 9, seed=11)
    logits = padded[:, :vocab]
    logits[1] = 0.0  # all equal
    logits[2, [vocab - 1, vocab // 2]] = 40.0  # two equal ones, far above
    logits[3, 2:] = float("-inf")
    want, got = PLAIN.pick(logits), TRITON.pick(logits)
    assert torch.equal(got.tokens, want.tokens)
    assert got.tokens[1:3].tolist() == [0, vocab // 2]
    torch.testing.assert_close(got.logprobs, want.logprobs, **CLOSE)
    torch.testing.assert_close(got.entropies, want.entropies, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got.margins, want.margins, rtol=1e-4, atol=1e-5)
    alone = TRITON.pick(logits[:1])
    assert torch.equal(alone.entropies[0], got.entropies[0])
