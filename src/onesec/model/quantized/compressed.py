"""compressed-tensors folders: integers packed in words or plain, and 8-bit floats, with scales.

It must not know files. Tensors of a module: weight_packed int32 [out, ceil(in * bits / 32)] with
weight_shape and weight_scale (pack-quantized), or weight int8 or float8 [out, in] with weight_scale
(int-, float-, naive-quantized). Scales are one a matrix, one a row, [out, groups], or one a block.
Where columns were ordered by activation, weight_g_idx [in] is each column's group. Scales of
activations and of caches are hidden: activations are not quantised by these files' rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from onesec.core.errors import UnsupportedModel
from onesec.model.binding import TensorSource
from onesec.model.jsonfile import Fields
from onesec.model.tensor import Tensor

from .base import (
    MAX_GROUP,
    WORD_BITS,
    Float32,
    Module,
    QuantizedMatrix,
    QuantizedSource,
    dequantize,
    group_index,
    modules_with,
    unpack,
)

_FORMATS = (
    "pack-quantized",
    "int-quantized",
    "float-quantized",
    "naive-quantized",
    "mixed-precision",
    "dense",
)
_KINDS = (("int", 4), ("int", 8), ("float", 8))
_PLAIN = ("i8", "f8_e4m3")
_HIDDEN = re.compile(r".*\.((input|output)_(scale|zero_point)|[qkv]_scale)")
_MAX_SCHEMES = 64
_HINT = "Use the original checkpoint, or one of 4 or 8 bits in an integer or float8 format."


@dataclass(frozen=True, slots=True)
class _Scheme:
    """How some of the modules were quantised. `group` is 0 where a row has one scale or less."""

    bits: int
    kind: str
    symmetric: bool
    group: int
    block: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where scales lie: one for `tall` rows and `wide` columns; `shape` as stored."""

    shape: tuple[int, ...]
    tall: int
    wide: int


def open_compressed_tensors(fields: Fields, source: TensorSource, path: Path) -> QuantizedSource:
    """The source with its matrices decoded on demand; `fields` is quantization_config.

    Which modules are quantised, and how, is seen from their tensors, since a config names them by
    patterns; each must then fit one of the config's schemes.

    Raises UnsupportedModel for other formats, sparsity and transforms, CorruptFile for tensors
    that do not fit.

    >>> open_compressed_tensors(fields, source, Path("model"))  # doctest: +SKIP
    """
    _refuse(fields, path)
    schemes = list(_schemes(fields, path))
    matrices = {
        module.name: _packed(module, schemes)
        for module in modules_with(source, path, "weight_packed")
    }
    for module in modules_with(source, path, "weight"):
        if source.dtype(f"{module.name}.weight") in _PLAIN:
            matrices[module.name] = _plain(module, schemes)
    hidden = [name for name in source.names() if _HIDDEN.fullmatch(name)]
    return QuantizedSource(source, path, matrices, hidden)


def _refuse(fields: Fields, path: Path) -> None:
    sparsity = fields.inner("sparsity_config")
    if sparsity is not None and sparsity.text("format", "dense") != "dense":
        raise UnsupportedModel(
            f"{path}: weights stored sparsely ({sparsity.text('format')[:40]!r}) are not read.",
            hint=_HINT,
        )
    transforms = fields.inner("transform_config")
    if transforms is not None and transforms.raw("config_groups"):
        raise UnsupportedModel(
            f"{path}: weights that need their inputs rotated (transform_config) are not read.",
            hint=_HINT,
        )


def _schemes(fields: Fields, path: Path) -> Iterator[_Scheme]:
    groups = fields.inner("config_groups")
    if groups is None or len(groups.values) > _MAX_SCHEMES:
        fields.fail("config_groups", f"is missing, or has more than {_MAX_SCHEMES} entries")
    overall = fields.text("format", "dense")
    for name in groups.values:
        scheme = groups.inner(name)
        if scheme is None:
            continue
        form = scheme.text("format", overall)
        if form not in _FORMATS:
            raise UnsupportedModel(
                f"{path}: the compressed-tensors format {form[:40]!r} is not read.", hint=_HINT
            )
        weights = scheme.inner("weights")
        if weights is not None:
            yield _scheme(weights, path)


def _scheme(weights: Fields, path: Path) -> _Scheme:
    bits, kind = weights.integer("num_bits", 8, low=1, high=64), weights.text("type", "int")
    if (kind, bits) not in _KINDS:
        raise UnsupportedModel(
            f"{path}: weights of {bits} bits ({kind[:40]}) are not read.", hint=_HINT
        )
    block = None
    if weights.has("block_structure"):
        sizes = weights.numbers("block_structure", count=2, low=1, high=MAX_GROUP)
        block = (int(sizes[0]), int(sizes[1]))
    return _Scheme(
        bits,
        kind,
        symmetric=weights.flag("symmetric", True),
        group=max(weights.integer("group_size", 0, low=-1, high=MAX_GROUP), 0),
        block=block,
    )


def _packed(module: Module, schemes: list[_Scheme]) -> QuantizedMatrix:
    rows, words = module.dims("weight_packed", dtypes=("i32",))
    module.expect("weight_shape", (2,), dtypes=("i64", "i32"))
    claimed = tuple(int(n) for n in module.read("weight_shape").data)
    cols = claimed[1]
    if claimed[0] != rows or not 1 <= cols <= words * WORD_BITS:
        raise module.fail(f"weight_shape says {claimed}, weight_packed is {[rows, words]}"[:200])
    scheme, grid = _fitting(
        module,
        (rows, cols),
        [s for s in schemes if s.kind == "int" and -(-cols * s.bits // WORD_BITS) == words],
    )
    groups = -(-cols // grid.wide)
    dtype = module.scales("weight_scale", grid.shape)
    if module.has("weight_zero_point"):
        # Packed along the rows; releases before 0.9.3 stored it plain.
        plain = module.dtype("weight_zero_point") == "i8"
        tall = rows if plain else -(-rows * scheme.bits // WORD_BITS)
        module.expect("weight_zero_point", (tall, groups), dtypes=("i32", "i8"))
    if module.has("weight_g_idx"):
        module.expect("weight_g_idx", (cols,), dtypes=("i32", "i64"))
    parts = ("packed", "shape", "scale", "zero_point", "g_idx")
    return module.matrix(
        (rows, cols),
        dtype,
        [f"weight_{part}" for part in parts],
        partial(_decode_packed, module, (rows, cols), scheme.bits, grid),
    )


def _plain(module: Module, schemes: list[_Scheme]) -> QuantizedMatrix:
    shape = module.dims("weight", dtypes=_PLAIN)
    kind = "int" if module.dtype("weight") == "i8" else "float"
    _, grid = _fitting(module, shape, [scheme for scheme in schemes if scheme.kind == kind])
    dtype = module.scales("weight_scale", grid.shape)
    if module.has("weight_zero_point"):
        module.expect("weight_zero_point", grid.shape, dtypes=_PLAIN)
    parts = ("weight", "weight_scale", "weight_zero_point")
    return module.matrix(shape, dtype, parts, partial(_decode_plain, module, shape, grid))


def _fitting(
    module: Module, shape: tuple[int, int], schemes: list[_Scheme]
) -> tuple[_Scheme, _Grid]:
    """The first of the schemes that weight_scale has a shape for, and where its scales lie."""
    stored = module.shape("weight_scale")
    for scheme in schemes:
        if not scheme.symmetric and not module.has("weight_zero_point"):
            continue
        for grid in _grids(scheme, shape):
            if grid.shape == stored:
                return scheme, grid
    raise module.fail(
        f"a weight {list(shape)} with scales {list(stored)} fits no scheme of the config"[:200]
    )


def _grids(scheme: _Scheme, shape: tuple[int, int]) -> Iterator[_Grid]:
    rows, cols = shape
    if scheme.block is not None:
        tall, wide = scheme.block
        yield _Grid((-(-rows // tall), -(-cols // wide)), tall, wide)
    elif scheme.group:
        wide = min(scheme.group, cols)
        if cols % wide == 0:
            yield _Grid((rows, cols // wide), 1, wide)
    else:
        yield from (_Grid(one, 1, cols) for one in ((rows, 1), (rows,)))
        yield from (_Grid(one, rows, cols) for one in ((1,), (), (1, 1)))


def _spread(values: Float32, rows: int, grid: _Grid) -> Float32:
    """[rows, groups] of values that lie in a grid."""
    table = values.reshape(-(-rows // grid.tall), -1)
    return table if grid.tall == 1 else np.repeat(table, grid.tall, axis=0)[:rows]


def _decode_packed(module: Module, shape: tuple[int, int], bits: int, grid: _Grid) -> Float32:
    rows, cols = shape
    scales = _spread(module.read("weight_scale").float32(), rows, grid)
    zeros = np.full(scales.shape, 1 << (bits - 1), dtype=np.float32)
    if module.has("weight_zero_point"):
        stored = module.read("weight_zero_point")
        if stored.dtype == "i8":
            zeros += stored.data
        else:
            zeros = unpack(stored.data.T, bits)[:, :rows].T.astype(np.float32)
    index = group_index(cols, grid.wide)
    if module.has("weight_g_idx") and (module.read("weight_g_idx").data != -1).any():
        index = module.group_of("weight_g_idx", scales.shape[1])
    words = module.read("weight_packed").data
    return dequantize(shape, lambda a, b: unpack(words[a:b], bits)[:, :cols], scales, zeros, index)


def _decode_plain(module: Module, shape: tuple[int, int], grid: _Grid) -> Float32:
    rows, cols = shape
    scales = _spread(module.read("weight_scale").float32(), rows, grid)
    zeros = np.zeros(scales.shape, dtype=np.float32)
    if module.has("weight_zero_point"):
        zeros = _spread(_numbers(module.read("weight_zero_point")), rows, grid)
    weight = module.read("weight")
    return dequantize(
        shape,
        lambda a, b: _numbers(Tensor(weight.name, weight.dtype, (b - a, cols), weight.data[a:b])),
        scales,
        zeros,
        group_index(cols, grid.wide),
    )


def _numbers(tensor: Tensor) -> Float32:
    """What int8 or float8 values stand for."""
    if tensor.dtype == "i8":
        return tensor.data.astype(np.float32)
    values: Float32 = _FLOAT8[tensor.data]
    return values


def _float8_values() -> Float32:
    """float32 [256] of E4M3 (finite and NaN, no infinity): 1 + 4 + 3 bits, bias 7."""
    codes = np.arange(256)
    exponent, fraction = codes >> 3 & 15, codes & 7
    normal = np.ldexp(8.0 + fraction, exponent - 10)
    values = np.where(exponent == 0, np.ldexp(1.0 * fraction, -9), normal)
    values[codes & 127 == 127] = np.nan
    signed: Float32 = np.copysign(values, np.where(codes > 127, -1.0, 1.0)).astype(np.float32)
    return signed


_FLOAT8 = _float8_values()
