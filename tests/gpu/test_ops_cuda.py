"""The hand-written kernels on a GPU: float64 references, the same bits beside any neighbours, and
the same bits from a graph of dependent launches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed")
import torch
from torch import Tensor

from onesec.backend.gpu.cuda_library import CudaLibrary, compile_library, find_nvcc
from onesec.backend.gpu.ops import Heads, LayerCache, Matrix, Norm, Reader, Steps, Turn
from onesec.backend.gpu.ops_cuda import CudaOps, Prepared
from onesec.backend.gpu.ops_plain import PlainOps
from onesec.machine import cache_folder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif(find_nvcc() is None, reason="no nvcc"),
]

# One code of an activation may fall on the other side of a half where the norm is rounded
# otherwise; each is worth 1/127 of its group's largest value, of sums over many hundreds.
CODES = 1e-4


@pytest.fixture(scope="module")
def library() -> CudaLibrary:
    folder = cache_folder() / "kernels"
    return CudaLibrary(compile_library(torch.cuda.get_device_capability(), folder))


def random_matrix(rows: int, cols: int, dense: Any = None, bias: bool = True) -> Matrix:
    blocks = -(-cols // 64)
    generator = torch.Generator("cuda").manual_seed(rows + cols)

    def random_bytes(size: int) -> Tensor:
        return torch.randint(
            0, 256, (rows // 16, blocks, size), dtype=torch.uint8, device="cuda",
            generator=generator,
        )  # fmt: skip

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, device="cuda", generator=generator)

    return Matrix(
        rows=rows,
        cols=cols,
        hi=random_bytes(576),
        lo=random_bytes(512),
        row_scale=normal(rows).abs() * 1e-4,
        dense=None if dense is None else (normal(rows, cols) * 0.05).to(dense),
        bias=normal(rows) if bias else None,
    )


def values(matrix: Matrix, width: int) -> Tensor:
    """float64 [rows, cols], as native/planes.h says."""
    if width == 16:
        assert matrix.dense is not None
        return matrix.dense.double()
    assert matrix.hi is not None
    assert matrix.lo is not None
    assert matrix.row_scale is not None
    tiles, blocks, _ = matrix.hi.shape

    def nibbles(plane: Tensor) -> Tensor:
        lines = plane[:, :, :512].reshape(tiles, blocks, 8, 16, 4)
        both = torch.stack((lines & 15, lines >> 4), -2)  # tile, block, line, row, half, column
        return both.permute(0, 3, 1, 2, 4, 5).reshape(matrix.rows, blocks * 64).double()

    meta = matrix.hi[:, :, 512:].reshape(tiles, blocks, 2, 2, 16)  # kind, group, row
    scale, minimum = meta.permute(2, 0, 4, 1, 3).reshape(2, matrix.rows, -1).double()
    scale, minimum = (m.repeat_interleave(32, 1) for m in (scale, minimum))
    code = nibbles(matrix.hi)
    if width == 8:
        code = code + (nibbles(matrix.lo) - 8) / 16
    return (matrix.row_scale.double()[:, None] * (scale * code - 8 * minimum))[:, : matrix.cols]


def normed(h: Tensor, norm: Norm | None) -> Tensor:
    if norm is None:
        return h
    x = h - h.mean(-1, keepdim=True) if norm.layer else h
    y = x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight
    return y if norm.bias is None else y + norm.bias


def rounded(x: Tensor, matrix: Matrix, width: int) -> Tensor:
    """float64: the activations as a product of that width reads them."""
    if width == 16:
        assert matrix.dense is not None
        return x.to(matrix.dense.dtype).double()
    padded = torch.nn.functional.pad(x, (0, -x.shape[1] % 32)).reshape(len(x), -1, 32)
    largest = padded.abs().amax(-1, keepdim=True)
    q = (padded * (127 / largest)).round()
    return (q.double() * (largest / 127).double()).reshape(len(x), -1)[:, : x.shape[1]]


def product(x: Tensor, matrix: Matrix, width: int) -> tuple[Tensor, Tensor]:
    """matrix · x + bias in float64, and the sum of the terms' absolute values."""
    w, x = values(matrix, width), rounded(x, matrix, width)
    bias = 0.0 if matrix.bias is None else matrix.bias.double()
    return x @ w.T + bias, x.abs() @ w.abs().T + abs(bias)


def close(got: Tensor, want: Tensor, size: Tensor) -> None:
    worst = ((got.double() - want).abs() / size).max().item()
    assert worst <= CODES, worst


def norm_of(cols: int, kind: str) -> Norm:
    generator = torch.Generator("cuda").manual_seed(cols)
    weight, bias = torch.randn(2, cols, device="cuda", generator=generator)
    return Norm(weight, 1e-5, kind == "layer", bias if kind == "layer" else None)


def hidden(rows: int, cols: int) -> Tensor:
    return torch.randn(rows, cols, device="cuda", generator=torch.Generator("cuda").manual_seed(1))


SHAPES = [(1152, 896), (48, 2048), (512, 4120)]


@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize(("rows", "cols"), SHAPES)
def test_a_normed_product(library: CudaLibrary, width: int, rows: int, cols: int) -> None:
    ops = CudaOps(library)
    for dtype, kind in ((torch.bfloat16, "rms"), (torch.float16, "layer")):
        matrix, norm = random_matrix(rows, cols, dtype), norm_of(cols, kind)
        h = hidden(16, cols)
        first = ops.norm_matmul(h, norm, matrix, width)
        close(first, *product(normed(h, norm), matrix, width))
        for n in (1, 2, 3, 4, 8, 9):
            assert torch.equal(ops.norm_matmul(h[:n], norm, matrix, width), first[:n]), n
        part = ops.norm_matmul(h[:3], norm, matrix, width, first_row=32)
        assert torch.equal(part, first[:3, 32:])


@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize(("rows", "cols"), SHAPES)
def test_a_product_added_to_the_residual(
    library: CudaLibrary, width: int, rows: int, cols: int
) -> None:
    ops = CudaOps(library)
    matrix = random_matrix(rows, cols, torch.bfloat16)
    for n in (1, 8):
        x, h = hidden(n, cols), hidden(n, rows - 5)  # the last rows are padding
        want, size = (y[:, : rows - 5] for y in product(x, matrix, width))
        got = h.clone()
        ops.matmul_add(x, matrix, width, got)
        close(got, h.double() + want, size + h.abs())
        norm, got = norm_of(rows - 5, "rms"), h.clone()
        ops.matmul_add(x, matrix, width, got, norm)
        torch.testing.assert_close(
            got, (h.double() + normed(want, norm)).float(), rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize("next_width", [4, 8, 16])
@pytest.mark.parametrize("gated", [True, False])
def test_a_feed_forward_network(
    library: CudaLibrary, width: int, next_width: int, gated: bool
) -> None:
    ops, size, cols = CudaOps(library), 1200, 896
    up = random_matrix(size * (2 if gated else 1), cols, torch.bfloat16)
    down, norm = random_matrix(896, size, torch.bfloat16), norm_of(cols, "rms")
    activations: dict[str, Callable[[Tensor], Tensor]] = {
        "silu": torch.nn.functional.silu,
        "gelu": torch.nn.functional.gelu,
        "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        "relu": torch.relu,
    }
    for n in (1, 8, 16):
        h = hidden(n, cols)
        plain = ops.norm_matmul(h, norm, up, width).double()
        for name, function in activations.items():
            inner = ops.norm_feed(h, norm, up, width, name, size)
            want = function(plain[:, :size]) * (plain[:, size:] if gated else 1.0)
            torch.testing.assert_close(inner.values.double(), want, rtol=1e-5, atol=1e-5)
            got, alone = torch.zeros(2, n, cols, device="cuda")
            ops.matmul_add(inner, down, next_width, got)
            ops.matmul_add(inner.values, down, next_width, alone)
            assert torch.equal(got, alone)
            close(got, *product(inner.values, down, next_width))


@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize("cols", [896, 2064, 4096])
def test_what_is_left_for_the_reader(library: CudaLibrary, width: int, cols: int) -> None:
    """Of the residual stream, and of attention: the products that a reader makes by itself."""
    ops = CudaOps(library, dependent=torch.cuda.get_device_capability() >= (9, 0))
    down = random_matrix(-(-cols // 16) * 16, 512, torch.bfloat16)
    qkv, up = random_matrix(96, cols, torch.bfloat16), random_matrix(2400, cols, torch.bfloat16)
    norm = norm_of(cols, "rms")
    x, stream = hidden(16, 512), 3 * hidden(16, cols)
    every: list[Tensor] = []
    for n in (16, 9, 8, 4, 2, 1):
        plain, h, again = (stream[:n].clone() for _ in range(3))
        assert ops.matmul_add(x[:n], down, width, plain) is None
        ready = ops.matmul_add(x[:n], down, width, h, None, Reader(qkv, width, norm))
        assert ready is not None
        assert torch.equal(h, plain)
        got = [h, ops.norm_matmul(h, norm, qkv, width, ready=ready)]
        weights, read = values(qkv, width), rounded(h * norm.weight, qkv, width)
        factor = (h.double().square().mean(-1, keepdim=True) + norm.eps).rsqrt()
        assert qkv.bias is not None
        bias = qkv.bias.double()
        want = read @ weights.T * factor + bias
        close(got[1], want, read.abs() @ weights.abs().T * factor + bias.abs())
        ready = ops.matmul_add(x[:n], down, width, again, None, Reader(up, width, norm))
        inner = ops.norm_feed(again, norm, up, width, "silu", 1200, ready)
        apart = ops.norm_feed(h, norm, up, width, "silu", 1200)
        assert (inner.values - apart.values).abs().mean() <= 0.01 * apart.values.std()
        got.append(inner.values)
        every = every or got
        for alone, among in zip(got, every, strict=True):
            assert torch.equal(alone, among[:n]), n
    assert (
        ops.matmul_add(x, down, width, stream, None, Reader(qkv, width, norm_of(cols, "layer")))
        is None
    )


@pytest.mark.parametrize("width", [4, 8, 16])
def test_what_is_not_finite_stays_so(library: CudaLibrary, width: int) -> None:
    ops, size, cols = CudaOps(library), 1200, 896
    matrix = random_matrix(48, cols, torch.bfloat16)
    up = random_matrix(2 * size, cols, torch.bfloat16)
    down, norm = random_matrix(896, size, torch.bfloat16), norm_of(cols, "rms")
    for odd in (float("nan"), float("inf")):
        for column in (0, 7, 31, 520, 895):
            h = hidden(2, cols)
            h[1, column] = odd
            found = [ops.norm_matmul(h, norm, matrix, width)]
            found.append(torch.zeros_like(found[0]))
            ops.matmul_add(h, matrix, width, found[1])
            for name in ("silu", "relu"):
                found.append(torch.zeros(2, 896, device="cuda"))
                inner = ops.norm_feed(h, norm, up, width, name, size)
                ops.matmul_add(inner, down, width, found[-1])
            for got in found:
                assert got[0].isfinite().all()
                assert not got[1].isfinite().any()


@pytest.mark.parametrize("width", [4, 8])
def test_inputs_next_to_nothing_count_for_nothing(library: CudaLibrary, width: int) -> None:
    matrix = random_matrix(48, 896, bias=False)
    x = torch.full((2, 896), 1e-40, device="cuda")
    x[:, ::3] = 0.0
    got = torch.zeros(2, 48, device="cuda")
    CudaOps(library).matmul_add(x, matrix, width, got)
    assert (got == 0.0).all()


@pytest.mark.parametrize(
    ("num_heads", "kv_heads", "head_dim"),
    [(32, 8, 64), (32, 8, 128), (14, 2, 64), (8, 1, 256), (4, 4, 80)],
)
def test_attention(library: CudaLibrary, num_heads: int, kv_heads: int, head_dim: int) -> None:
    """Against plain torch; the same bits alone and beside others, run again and again."""
    generator = torch.Generator("cuda").manual_seed(head_dim)
    q, kv, blocks = num_heads * head_dim, kv_heads * head_dim, 300
    heads = Heads(num_heads, kv_heads, head_dim, q, q + kv, head_dim**-0.5)
    keys, values = (
        torch.randn(blocks, kv_heads, 32, head_dim, device="cuda", generator=generator).half()
        for _ in range(2)
    )
    rotary = torch.randn(1501, head_dim, device="cuda", generator=generator)
    norm = Norm(torch.randn(head_dim, device="cuda", generator=generator), 1e-6)
    # Two tokens of one sequence, and others whose last blocks are their own.
    positions = torch.tensor(
        [700, 701, 0, 31, 255, 256, 511, 1270], dtype=torch.int32, device="cuda"
    )
    tables = torch.randperm(blocks, device="cuda", generator=generator)[: 7 * 40].int()
    tables = tables.view(7, 40)[[0, 0, 1, 2, 3, 4, 5, 6]]
    qkv = torch.randn(8, q + 2 * kv, device="cuda", generator=generator)
    tokens = torch.zeros_like(positions)
    ops = CudaOps(library, dependent=torch.cuda.get_device_capability() >= (9, 0))
    for window, turn in ((0, Turn(rotary)), (100, Turn(rotary, norm, norm)), (0, Turn())):
        steps = Steps(tokens, positions, tables)
        cache, plain = (LayerCache(keys.clone(), values.clone()) for _ in range(2))
        got = ops.attend(qkv, heads, turn, cache, steps, window=window)
        want = PlainOps(torch.float32).attend(qkv.clone(), heads, turn, plain, steps, window=window)
        torch.testing.assert_close(got, want, rtol=5e-4, atol=5e-4)
        torch.testing.assert_close(cache.keys, plain.keys, rtol=2e-3, atol=1e-3)
        assert torch.equal(cache.values, plain.values)
        for i in range(8):
            one = Steps(tokens[:1], positions[i : i + 1], tables[i : i + 1])
            alone = ops.attend(qkv[i : i + 1], heads, turn, cache, one, window=window)
            assert torch.equal(alone[0], got[i])
        for _ in range(50):
            again = ops.attend(qkv, heads, turn, cache, steps, window=window)
            assert torch.equal(again, got)
    for width in (8, 16):
        o = random_matrix(64, q, torch.bfloat16)
        found, left = torch.zeros(2, 8, 64, device="cuda")
        ops.matmul_add(got, o, width, found)
        prepared = ops.attend(qkv, heads, Turn(), cache, steps, window=0, reader=Reader(o, width))
        assert isinstance(prepared, Prepared) == (head_dim % 32 == 0)
        ops.matmul_add(prepared, o, width, left)
        assert torch.equal(left, found)


@pytest.mark.parametrize("width", [4, 8, 16])
def test_a_graph_of_dependent_launches(library: CudaLibrary, width: int) -> None:
    """A few layers in a row, again and again: what each kernel reads was complete."""
    cols, size = 896, 4864
    matrices = [random_matrix(2 * size, cols, torch.bfloat16, bias=False) for _ in range(3)]
    downs = [random_matrix(896, size, torch.bfloat16, bias=False) for _ in range(3)]
    norm = norm_of(cols, "rms")

    def layers(ops: CudaOps, h: Tensor) -> Tensor:
        ready: Any = None
        for up, down in zip(matrices, downs, strict=True):
            inner = ops.norm_feed(h, norm, up, width, "silu", size, ready)
            ready = ops.matmul_add(inner, down, width, h, None, Reader(down_square, width, norm))
            x = ops.norm_matmul(h, norm, down_square, width, ready=ready)
            ready = ops.matmul_add(x, down_square, width, h, None, Reader(up, width, norm))
        return h

    down_square = random_matrix(896, 896, torch.bfloat16, bias=False)
    for n in (1, 4, 8):
        want = layers(CudaOps(library), hidden(n, cols))
        dependent = torch.cuda.get_device_capability() >= (9, 0)
        ops, given = CudaOps(library, dependent=dependent), hidden(n, cols)
        h = given.clone()
        layers(ops, h)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            layers(ops, h)
        for _ in range(20):
            h.copy_(given)
            graph.replay()
            assert torch.equal(h, want)
