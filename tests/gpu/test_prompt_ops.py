"""Every op of PromptOps gives what PlainOps gives in float32, over odd sizes and in each dtype. On
a GPU where there is one, else in Triton's interpreter, which has no bfloat16."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("triton", reason="triton is not installed")

import torch
from made import DEVICE, TOKENS, make_heads, make_matrix, make_norm, normal, paged, rotary

from onesec.backend.gpu.ops import Heads, LayerCache, Steps, Turn
from onesec.backend.gpu.ops_plain import PlainOps
from onesec.backend.gpu.ops_prompt import PromptOps

pytestmark = [pytest.mark.triton, pytest.mark.filterwarnings("default")]

PLAIN = PlainOps(torch.float32)
DTYPES = [torch.float32, torch.float16]
if DEVICE.type == "cuda":
    DTYPES.append(torch.bfloat16)
NEAR = {
    torch.float32: {"rtol": 2e-5, "atol": 2e-5},
    torch.float16: {"rtol": 4e-3, "atol": 4e-3},
    torch.bfloat16: {"rtol": 3e-2, "atol": 3e-2},
}


def _assert_near(got: torch.Tensor, want: torch.Tensor, dtype: torch.dtype) -> None:
    torch.testing.assert_close(got.float(), want.float(), **NEAR[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("cols", "layer", "width"), [
    (64, False, 16), (131, True, 8), (328, False, 4),
])  # fmt: skip
def test_norm_matmul(cols: int, layer: bool, width: int, dtype: torch.dtype) -> None:
    h, norm = normal(5, cols), make_norm(cols, layer=layer)
    matrix = make_matrix(48, cols, bias=layer, dense=torch.float32)
    for first_row in (0, 16):
        want = PLAIN.norm_matmul(h, norm, matrix, width, first_row=first_row)
        got = PromptOps(dtype).norm_matmul(h, norm, matrix, width, first_row=first_row)
        assert got.dtype == dtype
        _assert_near(got, want, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("activation", "gated"), [
    ("silu", True), ("gelu_tanh", True), ("gelu", False), ("relu", False), ("gelu", True),
])  # fmt: skip
@pytest.mark.parametrize("size", [40, 1100])
def test_norm_feed(size: int, activation: str, gated: bool, dtype: torch.dtype) -> None:
    padded, cols = -(-size // 16) * 16, 72
    rows = 2 * padded if gated else padded
    matrix = make_matrix(rows, cols, bias=not gated, dense=torch.float32)
    h, norm = normal(3, cols), make_norm(cols, layer=not gated)
    want = PLAIN.norm_feed(h, norm, matrix, 16, activation, size)
    got = PromptOps(dtype).norm_feed(h, norm, matrix, 16, activation, size)
    assert got.dtype == dtype
    _assert_near(got, want, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("post", [False, True])
def test_matmul_add(post: bool, dtype: torch.dtype) -> None:
    hidden, cols = 40, 136
    matrix = make_matrix(48, cols, bias=True)
    x, h = normal(3, cols, seed=5), normal(3, hidden, seed=6)
    post_norm = make_norm(hidden) if post else None
    want = h.clone()
    PLAIN.matmul_add(x, matrix, 8, want, post_norm)
    PromptOps(dtype).matmul_add(x.to(dtype), matrix, 8, h, post_norm)
    assert h.dtype == torch.float32
    _assert_near(h, want, dtype)


@pytest.mark.parametrize("width", [4, 8, 16])
def test_embed(width: int) -> None:
    """In float32, whatever the products' dtype."""
    matrix = make_matrix(64, 131, dense=torch.float16)
    tokens = torch.tensor([0, 63, 17, 17, 40], dtype=torch.int32, device=DEVICE)
    want = PLAIN.embed(tokens, matrix, width, 1.5)
    got = PromptOps(torch.float16).embed(tokens, matrix, width, 1.5)
    _assert_near(got, want, torch.float32)


@pytest.mark.parametrize("with_queries", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("num", "kv", "dim", "half", "norms", "cache_dtype"), [
    (4, 2, 16, 8, "", torch.float32),
    (3, 1, 24, 6, "qk", torch.float16),
    (14, 2, 64, 32, "qk", torch.float16),
    (2, 1, 96, 48, "k", torch.float32),
    (2, 2, 128, 0, "", torch.float16),
    (36, 4, 256, 128, "q", torch.float16),
])  # fmt: skip
def test_rope_and_store(
    num: int, kv: int, dim: int, half: int, norms: str, cache_dtype: torch.dtype,
    dtype: torch.dtype, with_queries: bool,
) -> None:  # fmt: skip
    heads = make_heads(num, kv, dim)
    cache, steps, qkv = paged(heads, [0, 37, 63], cache_dtype, 64)
    qkv = (qkv if with_queries else qkv[:, heads.k_offset :].contiguous()).to(dtype)
    turn = Turn(
        rotary(64, half) if half else None,
        make_norm(dim, seed=20) if "q" in norms else None,
        make_norm(dim, seed=30) if "k" in norms else None,
    )
    want, wanted = qkv.float().clone(), LayerCache(cache.keys.clone(), cache.values.clone())
    PLAIN.rope_and_store(want, heads, turn, wanted, steps, with_queries=with_queries)
    PromptOps(dtype).rope_and_store(qkv, heads, turn, cache, steps, with_queries=with_queries)
    if with_queries:
        _assert_near(qkv[:, : num * dim], want[:, : num * dim], dtype)
    rounded = torch.float32 if cache_dtype == dtype == torch.float32 else torch.float16
    _assert_near(cache.keys, wanted.keys, rounded)
    _assert_near(cache.values, wanted.values, rounded)


def _chunk(
    heads: Heads, runs: list[tuple[int, int]], dtype: torch.dtype, *, unused: int = 0
) -> tuple[LayerCache, Steps, torch.Tensor]:
    """Chunks of several sequences, each (start, tokens), over a cache of random values; `unused`
    more rows of the last one at position 0."""
    counts = [count for _, count in runs]
    at = [start + i for start, count in runs for i in range(count)]
    capacity = -(-max(start + count for start, count in runs) // TOKENS) * TOKENS
    cache, few, _ = paged(heads, [0] * len(runs), dtype, capacity)
    counts[-1] += unused
    positions = torch.tensor(at + [0] * unused, dtype=torch.int32, device=DEVICE)
    repeats = torch.tensor(counts, device=DEVICE)
    firsts = [sum(counts[:i]) for i in range(len(counts))]
    steps = Steps(
        torch.zeros_like(positions),
        positions,
        few.tables.repeat_interleave(repeats, 0),
        runs=tuple(zip(firsts, counts, strict=True)),
    )
    width = heads.v_offset + -(-heads.num_kv_heads * heads.head_dim // 16) * 16
    return cache, steps, normal(len(positions), width, seed=10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("num", "kv", "dim", "window", "softcap", "runs"), [
    (4, 1, 64, 0, 0.0, [(0, 40)]),
    (7, 1, 24, 0, 0.0, [(0, 21)]),
    (2, 2, 128, 0, 0.0, [(100, 33)]),
    (8, 2, 16, 40, 0.0, [(0, 150)]),
    (4, 4, 80, 0, 30.0, [(70, 9)]),
    (14, 2, 8, 17, 20.0, [(61, 70)]),
    (2, 1, 256, 0, 0.0, [(31, 35)]),
    (3, 1, 96, 0, 0.0, [(0, 1), (5, 20), (0, 37), (64, 2)]),
])  # fmt: skip
@pytest.mark.parametrize("cache_dtype", [torch.float16, torch.float32])
def test_attention(
    num: int, kv: int, dim: int, window: int, softcap: float, runs: list[tuple[int, int]],
    cache_dtype: torch.dtype, dtype: torch.dtype,
) -> None:  # fmt: skip
    heads = make_heads(num, kv, dim, softcap)
    cache, steps, qkv = _chunk(heads, runs, cache_dtype)
    qkv = qkv.to(dtype)
    want = PLAIN.attention(qkv.float(), heads, cache, steps, window=window)
    got = PromptOps(dtype).attention(qkv, heads, cache, steps, window=window)
    assert got.dtype == dtype
    _assert_near(got, want, dtype)


@pytest.mark.parametrize("window", [0, 40])
def test_attention_depends_on_no_other_row(window: int) -> None:
    """Rows of a longer chunk, of one that starts later, and beside rows that are not used."""
    heads, ops = make_heads(4, 2, 32), PromptOps(torch.float16)
    rounding = 0.0 if DEVICE.type == "cuda" else 1e-3  # numpy's sums depend on where a row lies
    cache, steps, qkv = _chunk(heads, [(20, 130)], torch.float16)
    qkv = qkv.half()
    whole = ops.attention(qkv, heads, cache, steps, window=window)
    for first, count, unused in ((0, 50, 0), (77, 53, 0), (100, 9, 7)):
        rows = slice(first, first + count)
        positions = torch.nn.functional.pad(steps.positions[rows], (0, unused))
        part = Steps(
            torch.zeros_like(positions),
            positions,
            steps.tables[: count + unused],
            runs=((0, count + unused),),
        )
        given = torch.cat((qkv[rows], qkv[:unused]))
        got = ops.attention(given, heads, cache, part, window=window)
        torch.testing.assert_close(got[:count], whole[rows], rtol=0.0, atol=rounding)
        assert got.isfinite().all()


def test_attention_reads_nothing_behind_the_chunk() -> None:
    heads = make_heads(2, 1, 32)
    cache, steps, qkv = _chunk(heads, [(0, 70)], torch.float16)
    want = PLAIN.attention(qkv, heads, cache, steps, window=0)
    last = int(steps.tables[0, 2])
    for pool in (cache.keys, cache.values):
        pool[last, :, 70 % TOKENS :] = float("nan")
        pool[0] = float("nan")
    got = PromptOps(torch.float16).attention(qkv.half(), heads, cache, steps, window=0)
    _assert_near(got, want, torch.float16)
