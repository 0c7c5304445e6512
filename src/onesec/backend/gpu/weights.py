"""Device weights: a checkpoint, an artifact or random numbers as tensors on one device.

It must not know what is computed with them. Planes of a checkpoint come from the CPU engine, which
packs them: there is one packer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from onesec.core.errors import CorruptFile
from onesec.model.artifact import Artifact
from onesec.model.config import ModelConfig
from onesec.model.names import matrix_shape, segment_rows
from onesec.model.planes import (
    GROUP_COLS,
    GROUP_ROWS,
    HI_BYTES,
    LO_BYTES,
    SCALES,
    PackedMatrix,
    packed_shape,
)
from onesec.model.shapes import RANDOM_DEVIATION, plain_vectors
from onesec.model.tensor import Tensor as StoredTensor
from onesec.model.tensor import check_finite
from onesec.model.weights import Checkpoint

from .ops import Matrix, Norm
from .transformer import Layer, Weights

_DENSE = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
Planes = tuple[Tensor, Tensor, Tensor]  # hi, lo, row_scale


def load_weights(
    source: Checkpoint | Artifact,
    config: ModelConfig,
    device: torch.device,
    *,
    planes: bool,
    reference: bool,
    progress: Callable[[float], None] | None = None,
) -> Weights:
    """All tensors of `source` on `device`; `config` may have another context length than its own.

    `planes`: the 4- and 8-bit widths; `reference`: the 16-bit one, which a checkpoint has. Raises
    CorruptFile on values that are not finite.
    """
    packed = dict(_planes_of(source, device, progress)) if planes else {}

    def matrix(name: str, bias: str = "") -> Matrix:
        dense = None
        if reference:
            assert isinstance(source, Checkpoint)
            dense = _dense(source, name, device)
        return _matrix(config, name, packed.get(name), dense, vector(bias) if bias else None)

    names = set(source.vector_names())

    def vector(name: str) -> Tensor | None:
        if name not in names:
            return None
        return torch.tensor(np.array(source.vector(name), dtype=np.float32), device=device)

    positions = None
    if config.position == "learned":
        if isinstance(source, Checkpoint):
            values = source.matrix("pos_embed")[0].float32()
        else:
            values = source.vector("pos_embed")
        shape = matrix_shape(source.config, "pos_embed")
        positions = torch.tensor(np.array(values).reshape(shape), device=device)
    return _assemble(config, matrix, vector, positions, device)


def random_weights(
    config: ModelConfig,
    device: torch.device,
    *,
    planes: bool = True,
    dense: torch.dtype | None = None,
    seed: int = 0,
) -> Weights:
    """Random numbers in a model's shape: planes, and the 16-bit width as `dense`; for timing."""
    generator = torch.Generator(device).manual_seed(seed)

    def matrix(name: str, bias: str = "") -> Matrix:
        rows, cols = packed_shape(config, name)
        found = _random_planes(rows, cols, device, generator) if planes else None
        values = None
        if dense is not None:
            values = torch.empty(rows, cols, dtype=dense, device=device)
            values.normal_(0.0, RANDOM_DEVIATION, generator=generator)
        return _matrix(config, name, found, values, vector(bias) if bias else None)

    vectors = plain_vectors(config)

    def vector(name: str) -> Tensor | None:
        return torch.from_numpy(vectors[name]).to(device) if name in vectors else None

    return _assemble(config, matrix, vector, None, device)


def _assemble(
    config: ModelConfig,
    matrix: Callable[..., Matrix],
    vector: Callable[[str], Tensor | None],
    positions: Tensor | None,
    device: torch.device,
) -> Weights:
    def norm(name: str, *, layer: bool = config.norm == "layer") -> Norm | None:
        weight = vector(name)
        if weight is None:
            return None
        return Norm(weight, config.norm_eps, layer, vector(name + "_bias") if layer else None)

    def required(name: str) -> Norm:
        found = norm(name)
        assert found is not None, name
        return found

    layers = []
    up = "gate_up" if config.gated else "up"
    for i in range(config.num_layers):
        p = f"layers.{i}."
        layers.append(
            Layer(
                qkv=matrix(p + "qkv", p + "qkv_bias"),
                o=matrix(p + "o", p + "o_bias"),
                up=matrix(p + up, p + up + "_bias"),
                down=matrix(p + "down", p + "down_bias"),
                attn_norm=required(p + "attn_norm"),
                ffn_norm=required(p + "ffn_norm"),
                post_attn_norm=norm(p + "post_attn_norm"),
                post_ffn_norm=norm(p + "post_ffn_norm"),
                q_norm=norm(p + "q_norm", layer=False),
                k_norm=norm(p + "k_norm", layer=False),
            )
        )
    embed = matrix("embed", "head_bias" if config.tie_embeddings else "")
    return Weights(
        embed=embed,
        head=embed if config.tie_embeddings else matrix("head", "head_bias"),
        layers=tuple(layers),
        final_norm=required("final_norm"),
        rotary=tuple(
            _rotary(rope.inv_freq, rope.attention_factor, config.context_length, device)
            for rope in config.ropes
        ),
        positions=positions,
    )


def _matrix(
    config: ModelConfig,
    name: str,
    planes: Planes | None,
    dense: Tensor | None,
    bias: Tensor | None,
) -> Matrix:
    segments = segment_rows(config, name.rpartition(".")[2])
    rows, cols = packed_shape(config, name)
    hi, lo, row_scale = planes or (None, None, None)
    return Matrix(
        rows=rows,
        cols=cols,
        hi=hi,
        lo=lo,
        row_scale=row_scale,
        dense=dense,
        bias=None if bias is None else _spread(bias, segments),
    )


def _spread(values: Tensor, segments: Sequence[int]) -> Tensor:
    """Rows (or values) of several segments, each padded with zeros to a multiple of 16."""
    parts = []
    for part in values.split(list(segments)):
        short = -len(part) % GROUP_ROWS
        parts.append(
            part if not short else torch.cat((part, part.new_zeros(short, *part.shape[1:])))
        )
    return torch.cat(parts) if len(parts) > 1 else parts[0].contiguous()


def _planes_of(
    source: Checkpoint | Artifact,
    device: torch.device,
    progress: Callable[[float], None] | None,
) -> Iterator[tuple[str, Planes]]:
    if isinstance(source, Artifact):
        names = source.matrix_names()
        for done, name in enumerate(names):
            yield name, _planes_on(source.packed(name), device)
            if progress is not None:
                progress((done + 1) / len(names))
        return
    from onesec.backend.cpu import CpuBackend

    with_planes = CpuBackend.load(source, context_tokens=1, progress=progress)
    try:
        for name, packed in with_planes.packed():
            yield name, _planes_on(packed, device)
    finally:
        with_planes.close()


def _planes_on(packed: PackedMatrix, device: torch.device) -> Planes:
    blocks = -(-packed.cols // GROUP_COLS)
    hi, lo = (
        torch.from_numpy(np.array(plane))
        .view(plane.size // (blocks * size), blocks, size)
        .to(device)
        for plane, size in ((packed.hi, HI_BYTES), (packed.lo, LO_BYTES))
    )
    return hi, lo, torch.from_numpy(np.array(packed.row_scale)).to(device)


def _dense(source: Checkpoint, name: str, device: torch.device) -> Tensor:
    """The matrix as it is stored; where its segments differ in dtype, all in float32."""
    segments = source.matrix(name)
    for segment in segments:
        check_finite(source.source, segment)
    parts = [_tensor(segment).to(device) for segment in segments]
    source.release(name)
    if len({part.dtype for part in parts}) > 1:
        parts = [part.float() for part in parts]
    return _spread(torch.cat(parts), [len(part) for part in parts])


def _tensor(stored: StoredTensor) -> Tensor:
    array: npt.NDArray[Any] = np.array(stored.data)
    if stored.dtype == "bf16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    if stored.dtype not in _DENSE:
        raise CorruptFile(stored.name, f"a matrix of dtype {stored.dtype} has no dense form")
    return torch.from_numpy(array)


def _random_planes(
    rows: int, cols: int, device: torch.device, generator: torch.Generator
) -> Planes:
    shape = (rows // GROUP_ROWS, -(-cols // GROUP_COLS))
    hi, lo = (
        torch.randint(0, 256, (*shape, size), dtype=torch.uint8, device=device, generator=generator)
        for size in (HI_BYTES, LO_BYTES)
    )
    scale = 170 + hi[..., SCALES : SCALES + 32] % 32
    hi[..., SCALES : SCALES + 32] = scale
    hi[..., SCALES + 32 :] = (scale.int() * 15 // 16).byte()  # centres the codes on zero
    # A uniform code has a deviation of 4.6 steps of about 185 units.
    unit = RANDOM_DEVIATION / 840.0
    return hi, lo, torch.full((rows,), unit, dtype=torch.float32, device=device)


def _rotary(inv_freq: Sequence[float], factor: float, context: int, device: torch.device) -> Tensor:
    """float32 [context, 2 * half]: cosines, then sines, of every position."""
    positions = torch.arange(context, dtype=torch.float32, device="cpu")
    angles = torch.outer(positions, torch.tensor(inv_freq, dtype=torch.float32, device="cpu"))
    return (torch.cat((angles.cos(), angles.sin()), 1) * factor).to(device)
