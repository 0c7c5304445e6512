"""Compiles every kernel that TritonOps launches for the shapes of two models, for a GPU that need
not be there, and prints as JSON what the machine code tells. Run by test_triton_compiles.py."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from onesec.backend.gpu.ops import Heads, LayerCache, Matrix, Norm, Steps, Turn
from onesec.backend.gpu.ops_prompt import PromptOps
from onesec.backend.gpu.ops_triton import TritonOps, dequantize

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
TARGET = GPUTarget("cuda", 90, 32)
META = torch.device("meta")  # tensors with shapes and no memory
OPTIONS = {"num_warps", "num_stages", "launch_pdl", "enable_fp_fusion"}
TYPES = {
    torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16",
    torch.uint8: "*u8", torch.int32: "*i32",
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """A model's, as far as kernels see it."""

    name: str
    hidden: int
    inner: int
    heads: int
    head_dim: int
    vocab: int = 128256
    kv_heads: int = 8
    softcap: float = 0.0


SHAPES = (
    Shape("llama-3.2-1b", 2048, 8192, 32, 64),
    Shape("llama-3.1-8b", 4096, 14336, 32, 128),
)
GEMMA = Shape("gemma-2-9b", 3584, 14336, 16, 256, 256000, 8, 50.0)
PHI = Shape("phi-3-mini", 3072, 8192, 32, 96, 32064, 32)


def _tensor(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device=META)


def _matrix(rows: int, cols: int) -> Matrix:
    planes = (rows // 16, -(-cols // 64))
    return Matrix(
        rows, cols,
        _tensor(*planes, 576, dtype=torch.uint8), _tensor(*planes, 512, dtype=torch.uint8),
        _tensor(rows), _tensor(rows, cols, dtype=torch.bfloat16),
    )  # fmt: skip


def _heads(shape: Shape) -> Heads:
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    return Heads(
        shape.heads, shape.kv_heads, shape.head_dim, q, q + kv, shape.head_dim**-0.5, shape.softcap
    )


def launch_all(shape: Shape, n: int, width: int, ops: TritonOps) -> None:
    """A layer, the embedding, the head and the pick of one model."""
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    heads = _heads(shape)
    steps = Steps(
        _tensor(n, dtype=torch.int32), _tensor(n, dtype=torch.int32),
        _tensor(n, 256, dtype=torch.int32),
    )  # fmt: skip
    pool = (512, shape.kv_heads, 32, shape.head_dim)
    cache = LayerCache(_tensor(*pool, dtype=torch.bfloat16), _tensor(*pool, dtype=torch.bfloat16))
    norm, rotary = Norm(_tensor(shape.hidden), 1e-5), _tensor(8192, shape.head_dim)
    head = _matrix(shape.vocab, shape.hidden)
    h = ops.embed(steps.tokens, head, width, 1.0)
    qkv = ops.norm_matmul(h, norm, _matrix(q + 2 * kv, shape.hidden), width)
    ops.rope_and_store(qkv, heads, Turn(rotary), cache, steps)
    seen = ops.attention(qkv, heads, cache, steps, window=0)
    ops.matmul_add(seen, _matrix(shape.hidden, q), width, h)
    up = _matrix(2 * shape.inner, shape.hidden)
    inner = ops.norm_feed(h, norm, up, width, "silu", shape.inner)
    ops.matmul_add(inner, _matrix(shape.hidden, shape.inner), width, h)
    ops.pick(ops.norm_matmul(h, norm, head, width))
    if width != 16:
        dequantize(_matrix(shape.hidden, q), width, torch.bfloat16)


def launch_prompt(shape: Shape, dtype: torch.dtype, window: int) -> None:
    """What lies between the products of a layer of a prompt, and its embedding."""
    n, ops = 32, PromptOps(dtype)
    heads = _heads(shape)
    steps = Steps(
        _tensor(n, dtype=torch.int32), _tensor(n, dtype=torch.int32),
        _tensor(n, 256, dtype=torch.int32), runs=((0, n),),
    )  # fmt: skip
    pool = (512, shape.kv_heads, 32, shape.head_dim)
    cache = LayerCache(_tensor(*pool, dtype=torch.float16), _tensor(*pool, dtype=torch.float16))
    norm, rotary = Norm(_tensor(shape.hidden), 1e-5), _tensor(8192, shape.head_dim)
    h = ops.embed(steps.tokens, _matrix(shape.vocab, shape.hidden), 8, 1.0)
    rows = heads.v_offset + shape.kv_heads * shape.head_dim
    qkv = ops.norm_matmul(h, norm, _matrix(rows, shape.hidden), 8)
    ops.rope_and_store(qkv, heads, Turn(rotary), cache, steps)
    ops.attention(qkv, heads, cache, steps, window=window)
    ops.norm_feed(h, norm, _matrix(2 * shape.inner, shape.hidden), 8, "silu", shape.inner)


def recorded(run: Callable[[], None]) -> list[tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    """The launches of `run`, none of which is done: (kernel, arguments, keyword arguments)."""
    launches: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []
    original = JITFunction.__getitem__
    JITFunction.__getitem__ = lambda self, grid: lambda *a, **k: launches.append((self, a, k))
    try:
        run()
    finally:
        JITFunction.__getitem__ = original
    return launches


def source_of(
    kernel: Any, args: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[ASTSource, dict[str, Any]]:
    """What Triton would compile for this launch: types, constants and what 16 divides."""
    options = {name: keywords[name] for name in OPTIONS & set(keywords)}
    values = dict(zip(kernel.arg_names, args, strict=False))
    values |= {name: value for name, value in keywords.items() if name not in OPTIONS}
    signature, constants, attributes = {}, {}, {}
    for i, name in enumerate(kernel.arg_names):
        value = values[name]
        if name in keywords or (isinstance(value, int) and value == 1):
            signature[name], constants[name] = "constexpr", value
            continue
        if isinstance(value, torch.Tensor):
            signature[name] = TYPES[value.dtype]
        else:
            signature[name] = "fp32" if isinstance(value, float) else "i32"
        if isinstance(value, torch.Tensor) or (isinstance(value, int) and value % 16 == 0):
            attributes[(i,)] = [["tt.divisibility", 16]]
    return ASTSource(kernel, signature, constants, attributes), options


def longest_loop(sass: str) -> list[str]:
    """The instructions of the longest backward jump."""
    code: list[str] = []
    labels: dict[str, int] = {}
    best: tuple[int, int] = (0, 0)
    for line in sass.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line):
            labels[label[1]] = len(code)
        if instruction := re.match(r"\s+/\*[0-9a-f]+\*/\s+(.*?)\s*;", line):
            code.append(instruction[1])
            jump = re.search(r"BRA.*`\((\.L_x_\d+)\)", instruction[1])
            if jump and jump[1] in labels and len(code) - labels[jump[1]] > best[1] - best[0]:
                best = (labels[jump[1]], len(code))
    return code[best[0] : best[1]]


def weights_a_lane(constants: dict[str, Any]) -> int:
    """Weights that a lane of a product kernel takes in one round."""
    return int(constants["T"]) * 32 if "T" in constants else int(constants["R"]) * 8


def told(kernel: Any, source: ASTSource, options: dict[str, Any]) -> dict[str, Any]:
    """What the machine code of one kernel tells."""
    compiled = triton.compile(source, target=TARGET, options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        sass = subprocess.check_output([TOOLS / "nvdisasm", file.name], text=True)
        usage = subprocess.check_output([TOOLS / "cuobjdump", "-res-usage", file.name], text=True)
    constants = source.constants
    named = {source.fn.arg_names[key[0]]: value for key, value in constants.items()}
    loop = longest_loop(sass)
    name = kernel.fn.__name__
    facts = {
        "kernel": name,
        "constants": named,
        "warps": options.get("num_warps", 4),
        "registers": int(re.search(r"REG:(\d+)", usage)[1]),  # type: ignore[index]
        "stack": int(re.search(r"STACK:(\d+)", usage)[1]),  # type: ignore[index]
        "shared": compiled.metadata.shared,
        "wide_loads": len(re.findall(r"LDG\.E\.(?:EF\.)?128", sass)),
        "loop_barriers": sum("BAR.SYNC" in line for line in loop),
        "tensor_products": len(re.findall(r"\s(?:HGMMA|HMMA)", sass)),
        "copies_ahead": len(re.findall(r"LDGSTS\.E\.(?:\w+\.)*128", sass)),
        "waits": compiled.asm["ptx"].count("griddepcontrol.wait"),
    }
    if name in ("plane_product", "dense_product"):
        facts["instructions_a_weight"] = len(loop) / weights_a_lane(named)
    return facts


def main() -> None:
    found: dict[str, tuple[Any, ASTSource, dict[str, Any]]] = {}

    def add(launches: list[tuple[Any, tuple[Any, ...], dict[str, Any]]]) -> None:
        for launch in launches:
            source, options = source_of(*launch)
            key = repr((source.name, source.signature, source.constants, source.attrs, options))
            found.setdefault(key, (launch[0], source, options))

    for shape, n, pdl in ((SHAPES[0], 1, False), (SHAPES[1], 1, True), (SHAPES[1], 8, False)):
        for width in (4, 8, 16):
            ops = TritonOps(pdl=pdl)
            add(recorded(lambda: launch_all(shape, n, width, ops)))  # noqa: B023
    for shape, window in ((SHAPES[0], 0), (SHAPES[1], 0), (GEMMA, 4096), (PHI, 2048)):
        for dtype in (torch.bfloat16, torch.float32):
            add(recorded(lambda: launch_prompt(shape, dtype, window)))  # noqa: B023
    json.dump([told(*each) for each in found.values()], sys.stdout)


if __name__ == "__main__":
    main()
