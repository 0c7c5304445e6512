"""Every op of TritonOps gives what PlainOps gives, over odd sizes; a row's bits depend on no other
row. On a GPU where there is one, else in Triton's interpreter."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("triton", reason="triton is not installed")

import torch
from made import DEVICE, dense_of, make_heads, make_matrix, make_norm, normal, paged, rotary

from onesec.backend.gpu.ops import LayerCache, Steps, Turn
from onesec.backend.gpu.ops_plain import PlainOps, plane_values
from onesec.backend.gpu.ops_triton import TritonOps, dequantize

pytestmark = [pytest.mark.triton, pytest.mark.filterwarnings("default")]

PLAIN, TRITON = PlainOps(torch.float32), TritonOps()
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize("cols", [40, 64, 131, 328, 512])
@pytest.mark.parametrize("n", [1, 3])
def test_norm_matmul(width: int, cols: int, n: int) -> None:
    h = normal(n, cols)
    matrix = make_matrix(48, cols, bias=cols != 64, dense=dense_of(width))
    norm = make_norm(cols, layer=cols == 131)
    for first_row in (0, 16):
        want = PLAIN.norm_matmul(h, norm, matrix, width, first_row=first_row)
        got = TRITON.norm_matmul(h, norm, matrix, width, first_row=first_row)
        torch.testing.assert_close(got, want, **CLOSE)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 16])
@pytest.mark.parametrize("width", [4, 8, 16])
def test_row_depends_on_no_other_row(width: int, n: int) -> None:
    h, matrix, norm = normal(n, 200), make_matrix(32, 200, dense=dense_of(width)), make_norm(200)
    together = TRITON.norm_matmul(h, norm, matrix, width)
    torch.testing.assert_close(together, PLAIN.norm_matmul(h, norm, matrix, width), **CLOSE)
    assert torch.equal(together, TRITON.norm_matmul(h, norm, matrix, width))
    for i in range(0, n, 3):
        alone = TRITON.norm_matmul(h[i : i + 1].clone(), norm, matrix, width)
        assert torch.equal(alone[0], together[i])


def test_what_is_written_is_float32_whatever_torchs_default_is() -> None:
    h, matrix, norm, heads = normal(1, 64), make_matrix(32, 64), make_norm(64), make_heads(2, 1, 8)
    cache, steps, qkv = paged(heads, [5], torch.float32, 32)
    torch.set_default_dtype(torch.float16)
    try:
        found = (
            TRITON.embed(steps.tokens, matrix, 4, 1.0),
            TRITON.norm_matmul(h, norm, matrix, 4),
            TRITON.norm_feed(h, norm, matrix, 4, "relu", 32),
            TRITON.attention(qkv, heads, cache, steps, window=0),
        )
        entropies = TRITON.pick(found[1]).entropies
    finally:
        torch.set_default_dtype(torch.float32)
    assert [values.dtype for values in found] == [torch.float32] * 4
    torch.testing.assert_close(entropies, PLAIN.pick(found[1]).entropies, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dense", [torch.float16, torch.bfloat16])
def test_dense_halves(dense: torch.dtype) -> None:
    if dense == torch.bfloat16 and DEVICE.type == "cpu":
        pytest.skip("the interpreter does not compute in bfloat16")
    h, matrix, norm = normal(2, 264), make_matrix(32, 264, dense=dense), make_norm(264)
    want = PLAIN.norm_matmul(h, norm, matrix, 16)
    torch.testing.assert_close(TRITON.norm_matmul(h, norm, matrix, 16), want, **CLOSE)


@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize(("activation", "gated"), [
    ("silu", True), ("gelu_tanh", True), ("gelu", False), ("relu", False), ("gelu", True),
])  # fmt: skip
def test_norm_feed(width: int, activation: str, gated: bool) -> None:
    size, padded, cols = 40, 48, 72
    rows = 2 * padded if gated else padded
    matrix = make_matrix(rows, cols, bias=not gated, dense=dense_of(width))
    h, norm = normal(3, cols), make_norm(cols, layer=not gated)
    want = PLAIN.norm_feed(h, norm, matrix, width, activation, size)
    got = TRITON.norm_feed(h, norm, matrix, width, activation, size)
    torch.testing.assert_close(got, want, **CLOSE)


@pytest.mark.parametrize("activation", ["silu", "gelu_tanh", "gelu", "relu"])
def test_what_is_not_finite_stays_so_behind_an_activation(activation: str) -> None:
    matrix, norm, h = make_matrix(48, 72), make_norm(72), normal(2, 72)
    h[1, 5] = float("nan")
    found = TRITON.norm_feed(h, norm, matrix, 8, activation, 40)
    assert found[0].isfinite().all()
    assert found[1].isnan().all()


@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize("post", [False, True])
def test_matmul_add(width: int, post: bool) -> None:
    hidden, cols = 40, 136
    matrix = make_matrix(48, cols, bias=True, dense=dense_of(width))
    x, h = normal(3, cols, seed=5), normal(3, hidden, seed=6)
    post_norm = make_norm(hidden) if post else None
    want = h.clone()
    PLAIN.matmul_add(x, matrix, width, want, post_norm)
    TRITON.matmul_add(x, matrix, width, h, post_norm)
    torch.testing.assert_close(h, want, **CLOSE)


@pytest.mark.parametrize("width", [4, 8, 16])
def test_embed(width: int) -> None:
    matrix = make_matrix(64, 131, dense=dense_of(width))
    tokens = torch.tensor([0, 63, 17, 17, 40], dtype=torch.int32, device=DEVICE)
    want = PLAIN.embed(tokens, matrix, width, 1.5)
    torch.testing.assert_close(TRITON.embed(tokens, matrix, width, 1.5), want, **CLOSE)


def test_embed_of_a_matrix_without_its_second_plane() -> None:
    matrix = make_matrix(64, 131)
    assert matrix.lo is not None
    narrow = replace(matrix, lo=matrix.lo[:0])
    tokens = torch.tensor([0, 63, 17], dtype=torch.int32, device=DEVICE)
    want = PLAIN.embed(tokens, matrix, 4, 1.5)
    for ops in (PLAIN, TRITON):
        torch.testing.assert_close(ops.embed(tokens, narrow, 4, 1.5), want, **CLOSE)


@pytest.mark.parametrize("width", [4, 8])
@pytest.mark.parametrize("cols", [64, 320, 131])
def test_dequantize(width: int, cols: int) -> None:
    matrix = make_matrix(32, cols)
    got = dequantize(matrix, width, torch.float32)
    torch.testing.assert_close(got, plane_values(matrix, width), rtol=1e-6, atol=1e-6)
    halves = dequantize(matrix, width, torch.float16)
    assert torch.equal(halves, got.to(torch.float16))


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
    heads = make_heads(num, kv, dim)
    cache, steps, qkv = paged(heads, [0, 37, 63], dtype, 64)
    qkv = qkv if with_queries else qkv[:, heads.k_offset :].contiguous()
    table = rotary(64, half) if half else None
    norms = (make_norm(dim, seed=20), make_norm(dim, seed=30)) if qk_norm else (None, None)
    turn = Turn(table, *norms)
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
    (2, 1, 4, 150, 0.0, torch.float32),
    (2, 2, 8, 0, 0.0, torch.float16),
    (4, 2, 16, 0, 0.0, torch.float32),
    (3, 1, 24, 0, 0.0, torch.float16),
    (2, 2, 64, 40, 0.0, torch.float32),
    (8, 1, 96, 0, 30.0, torch.float16),
    (5, 1, 128, 150, 20.0, torch.float32),
])  # fmt: skip
def test_attention(
    num: int, kv: int, dim: int, window: int, softcap: float, dtype: torch.dtype
) -> None:
    heads = make_heads(num, kv, dim, softcap)
    cache, steps, qkv = paged(heads, [0, 31, 127, 300], dtype, 320)
    want = PLAIN.attention(qkv, heads, cache, steps, window=window)
    got = TRITON.attention(qkv, heads, cache, steps, window=window)
    torch.testing.assert_close(got, want, **CLOSE)
    alone = Steps(steps.tokens[3:], steps.positions[3:], steps.tables[3:])
    again = TRITON.attention(qkv[3:], heads, cache, alone, window=window)
    assert torch.equal(again[0], got[3])


def test_attention_of_a_longer_table() -> None:
    heads = make_heads(2, 1, 32)
    cache, steps, qkv = paged(heads, [140], torch.float32, 160)
    spare = torch.zeros(1, 9, dtype=torch.int32, device=DEVICE)
    longer = Steps(steps.tokens, steps.positions, torch.cat((steps.tables, spare), 1))
    want = TRITON.attention(qkv, heads, cache, steps, window=0)
    assert torch.equal(TRITON.attention(qkv, heads, cache, longer, window=0), want)


@pytest.mark.parametrize("vocab", [7, 4096, 10007])
def test_pick(vocab: int) -> None:
    padded = 3 * normal(4, vocab + 9, seed=11)
    logits = padded[:, :vocab]
    logits[1] = 0.0  # all equal
    logits[2, [vocab - 1, vocab // 2]] = 40.0  # two equal ones, far above
    logits[3, 2:] = torch.finfo(torch.float32).min
    want, got = PLAIN.pick(logits), TRITON.pick(logits)
    assert torch.equal(got.tokens, want.tokens)
    assert got.tokens[1:3].tolist() == [0, vocab // 2]
    torch.testing.assert_close(got.logprobs, want.logprobs, **CLOSE)
    torch.testing.assert_close(got.entropies, want.entropies, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got.margins, want.margins, rtol=1e-4, atol=1e-5)
    alone = TRITON.pick(logits[:1])
    assert torch.equal(alone.entropies[0], got.entropies[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("vocab", [7, 10007])
def test_pick_tells_of_a_logit_that_is_not_finite(vocab: int, value: float) -> None:
    logits = normal(3, vocab, seed=11)
    logits[1, vocab - 1] = value
    for picked in (PLAIN.pick(logits), TRITON.pick(logits)):
        assert picked.logprobs.isnan().tolist() == [False, True, False]
        assert 0 <= int(picked.tokens[1]) < vocab
