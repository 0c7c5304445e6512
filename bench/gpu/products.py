"""Times each fused product of an 8B model: python bench/gpu/products.py [--pdl] [--rows N]

A graph runs one product on many matrices in turn, together larger than the cache on the chip, so
that weights come from memory; the time is the graph's over the matrices.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import torch
from floors import event_ms

from onesec.backend.ops import Matrix, Norm
from onesec.backend.ops_triton import TritonOps, dequantize

GIB_OF_WEIGHTS = 0.5  # well beyond a cache of 60 MB
# name: rows, columns, and how it is called
SHAPES = {
    "qkv": (6144, 4096, "norm_matmul"),
    "o": (4096, 4096, "matmul_add"),
    "gate_up": (28672, 4096, "norm_feed"),
    "down": (4096, 14336, "matmul_add"),
    "head": (128256, 4096, "norm_matmul"),
    "1b_o": (2048, 2048, "matmul_add"),
}


def bytes_at(rows: int, cols: int, width: int) -> int:
    """Bytes that a product reads of its matrix."""
    blocks = rows // 16 * -(-cols // 64)
    return {4: 576 * blocks, 8: 1088 * blocks, 16: 2 * rows * cols}[width]


def matrix_of(rows: int, cols: int, width: int) -> Matrix:
    """Random weights at one width."""
    if width == 16:
        return Matrix(rows, cols, dense=torch.randn(rows, cols, device="cuda").bfloat16())
    shape = (rows // 16, -(-cols // 64))
    hi, lo = (
        torch.randint(0, 256, (*shape, size), dtype=torch.uint8, device="cuda")
        for size in (576, 512)
    )
    return Matrix(rows, cols, hi, lo, torch.full((rows,), 1e-5, device="cuda"))


def graph_ms(run: Callable[[], None]) -> float:
    """Milliseconds of `run`, replayed as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return event_ms(graph.replay, 20)


def product_us(ops: TritonOps, name: str, width: int, n: int) -> tuple[float, float]:
    """(microseconds, GB/s) of one product of n rows."""
    rows, cols, call = SHAPES[name]
    size = bytes_at(rows, cols, width)
    count = max(2, int(GIB_OF_WEIGHTS * 2**30 / size))
    matrices = [matrix_of(rows, cols, width) for _ in range(count)]
    x = torch.randn(n, cols, device="cuda")
    h = torch.zeros(n, rows, device="cuda")
    norm = Norm(torch.ones(cols, device="cuda"), 1e-5)

    def run() -> None:
        for matrix in matrices:
            if call == "norm_matmul":
                ops.norm_matmul(x, norm, matrix, width)
            elif call == "norm_feed":
                ops.norm_feed(x, norm, matrix, width, "silu", rows // 2)
            else:
                ops.matmul_add(x, matrix, width, h)

    us = graph_ms(run) / count * 1e3
    return us, size / us / 1e3


def dequantize_us(width: int) -> tuple[float, float]:
    """(microseconds, GB/s read and written) of opening a gate_up matrix to bfloat16."""
    rows, cols, _ = SHAPES["gate_up"]
    matrices = [matrix_of(rows, cols, width) for _ in range(4)]
    size = bytes_at(rows, cols, width) + 2 * rows * cols

    def run() -> None:
        for matrix in matrices:
            dequantize(matrix, width, torch.bfloat16)

    us = graph_ms(run) / len(matrices) * 1e3
    return us, size / us / 1e3


def main() -> None:
    """Print a JSON line a product."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pdl", action="store_true")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    ops = TritonOps(pdl=options.pdl)
    print(json.dumps({"device": torch.cuda.get_device_name(), "pdl": options.pdl}))
    for n in options.rows:
        for width in (4, 8, 16):
            for name in SHAPES:
                us, speed = product_us(ops, name, width, n)
                print(
                    json.dumps({
                        "product": name, "width": width, "rows": n,
                        "us": round(us, 2), "GB/s": round(speed),
                    }),
                    flush=True,
                )  # fmt: skip
    for width in (4, 8):
        us, speed = dequantize_us(width)
        print(json.dumps({"dequantize": width, "us": round(us, 2), "GB/s": round(speed)}))


if __name__ == "__main__":
    main()
