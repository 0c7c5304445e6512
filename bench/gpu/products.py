"""Every product of a decode step by itself: time and share of the copy bandwidth on this GPU.

    PYTHONPATH=src python -m bench.gpu.products [--out FILE] [--brief]

Each is launched again and again in a CUDA graph, over copies of its weights that together are
larger than the L2 cache, its launches dependent where the GPU can; times are device events. But for
`down`, the launch that prepares its activations is counted in: in a step the kernel before does it.
`--brief` leaves out the second table, in which one switch at a time is set otherwise.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bench.gpu.floors import bandwidth_gb_s, event_ms, warm_up
from onesec.backend.gpu.cuda_library import CudaLibrary, compile_library
from onesec.backend.gpu.ops import Matrix, Norm
from onesec.backend.gpu.ops_cuda import CudaOps
from onesec.machine import cache_folder

L2_BYTES = 150 << 20  # of different weights, at least: more than twice the L2 of an H200
LAUNCHES = 24  # of a graph, at least
POOL_BYTES = 2304 << 20  # of random weights, that all matrices are cut from


class Shape(NamedTuple):
    model: str
    product: str  # qkv, o, up, down or head
    rows: int
    cols: int

    def bytes(self, width: int) -> int:
        """Read once a product."""
        blocks = self.rows // 16 * -(-self.cols // 64)
        return {4: 576 * blocks, 8: 1088 * blocks, 16: 2 * self.rows * self.cols}[width]


MODELS = {
    "llama-3.1-8b": ((6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336), (128256, 4096)),
    "llama-3.2-1b": ((3072, 2048), (2048, 2048), (16384, 2048), (2048, 8192), (128256, 2048)),
    "qwen2.5-0.5b": ((1152, 896), (896, 896), (9728, 896), (896, 4864), (151936, 896)),
}
SHAPES = [
    Shape(model, product, *size)
    for model, sizes in MODELS.items()
    for product, size in zip(("qkv", "o", "up", "down", "head"), sizes, strict=True)
]


class Pool:
    """Random weights that matrices are cut from."""

    def __init__(self) -> None:
        self._bytes = torch.randint(0, 256, (POOL_BYTES,), dtype=torch.uint8, device="cuda")
        self._dense = torch.empty(POOL_BYTES // 2, dtype=torch.bfloat16, device="cuda").normal_()
        self._scale = torch.full((160_000,), 1e-6, device="cuda")

    def matrices(self, shape: Shape, width: int) -> list[Matrix]:
        """Copies of one shape, no two of the same bytes, together larger than the L2 cache."""
        count = max(2, -(-L2_BYTES // shape.bytes(width)))
        tiles, blocks = shape.rows // 16, -(-shape.cols // 64)
        made = []
        for i in range(count):
            if width == 16:
                size = shape.rows * shape.cols
                dense = self._dense[i * size : (i + 1) * size].view(shape.rows, shape.cols)
                made.append(Matrix(shape.rows, shape.cols, dense=dense))
                continue
            hi, lo = (
                self._bytes[at : at + tiles * blocks * size].view(tiles, blocks, size)
                for at, size in (
                    (i * tiles * blocks * 576, 576),
                    (POOL_BYTES // 2 + i * tiles * blocks * 512, 512),
                )
            )
            made.append(Matrix(shape.rows, shape.cols, hi, lo, self._scale[: shape.rows]))
        return made


def graph_ms(launch: Callable[[int], object], launches: int) -> float:
    """Median milliseconds of one of `launches` launches, over replays of a graph of them all."""
    launch(0)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(launches):
            launch(i)
    return event_ms(graph.replay, 6, warm=42) / launches


def measure(ops: CudaOps, pool: Pool, shape: Shape, width: int, n: int) -> float:
    """Milliseconds of one product of n rows."""
    matrices = pool.matrices(shape, width)
    x = torch.randn(n, shape.cols, device="cuda")
    norm = Norm(torch.ones(shape.cols, device="cuda"), 1e-5)
    inner_size = shape.rows // 2
    launches = -(-LAUNCHES // len(matrices)) * len(matrices)
    if shape.product in ("qkv", "head"):
        return graph_ms(
            lambda i: ops.norm_matmul(x, norm, matrices[i % len(matrices)], width), launches
        )
    if shape.product == "up":
        return graph_ms(
            lambda i: ops.norm_feed(
                x, norm, matrices[i % len(matrices)], width, "silu", inner_size
            ),
            launches,
        )
    h = torch.zeros(n, shape.rows, device="cuda")
    given: Any = x
    if shape.product == "down":
        before = Shape(shape.model, "up", 2 * shape.cols, 64)
        small = Norm(torch.ones(64, device="cuda"), 1e-5)
        given = ops.norm_feed(
            torch.randn(n, 64, device="cuda"), small, pool.matrices(before, width)[0], width,
            "silu", shape.cols,
        )  # fmt: skip
    return graph_ms(
        lambda i: ops.matmul_add(given, matrices[i % len(matrices)], width, h), launches
    )


def switches(dependent: bool) -> Iterator[tuple[str, dict[str, Any], int]]:
    """(name, CudaOps's arguments, rows) of the second table."""
    usual = {"dependent": dependent}
    yield "1 block", {**usual, "per_multiprocessor": 1}, 1
    yield "1 block", {**usual, "per_multiprocessor": 1}, 8
    yield "3 blocks", {**usual, "per_multiprocessor": 3}, 1
    if dependent:
        yield "independent", {"dependent": False}, 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    parser.add_argument("--brief", action="store_true")
    options = parser.parse_args()
    capability = torch.cuda.get_device_capability()
    library = CudaLibrary(compile_library(capability, cache_folder() / "kernels"))
    dependent = capability >= (9, 0)
    warm_up(2.0)
    bandwidth = 1e9 * bandwidth_gb_s()["copy"]
    name = torch.cuda.get_device_name()
    print(f"{name}: copy {bandwidth / 1e12:.2f} TB/s; dependent launches: {dependent}")
    pool = Pool()
    rows: list[dict[str, Any]] = []

    def row(setting: str, ops: CudaOps, shape: Shape, width: int, n: int) -> None:
        ms = measure(ops, pool, shape, width, n)
        rate = shape.bytes(width) / (ms / 1e3)
        rows.append(
            {
                **shape._asdict(), "setting": setting, "width": width, "n": n,
                "us": round(ms * 1e3, 2), "gb_s": round(rate / 1e9),
                "share": round(rate / bandwidth, 3),
            }
        )  # fmt: skip
        print(
            f"{shape.model:<13} {shape.product:<5} {shape.rows:>6} x {shape.cols:<5} "
            f"{width:>2} bits n {n} {ms * 1e3:8.2f} us {rate / 1e9:5.0f} GB/s "
            f"{rate / bandwidth:6.1%}  {setting}",
            flush=True,
        )

    usual = CudaOps(library, dependent=dependent)
    for shape in SHAPES:
        for width in (4, 8, 16):
            for n in (1, 8):
                row("", usual, shape, width, n)
    if not options.brief:
        for setting, arguments, n in switches(dependent):
            ops = CudaOps(library, **arguments)
            for shape in SHAPES:
                if shape.model != "qwen2.5-0.5b" and shape.product in ("o", "up"):
                    for width in (4, 8, 16):
                        row(setting, ops, shape, width, n)
    if options.out:
        found = {"gpu": name, "torch": torch.__version__, "copy_bytes_s": bandwidth, "rows": rows}
        options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
