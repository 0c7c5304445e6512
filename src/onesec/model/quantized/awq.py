"""AWQ folders of the version gemm: 4 bits, packed along the outputs in an order of their own.

It must not know files. Tensors of a module: qweight int32 [in, out / 8], qzeros int32
[groups, out / 8], scales [groups, out]; a word holds outputs 0, 2, 4, 6, 1, 3, 5, 7 of its eight,
lowest bits first. Zero points are stored as they are.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onesec.core.errors import UnsupportedModel
from onesec.model.binding import TensorSource
from onesec.model.jsonfile import Fields

from .base import (
    Bytes,
    Float32,
    Module,
    QuantizedMatrix,
    QuantizedSource,
    dequantize,
    group_index,
    group_size,
    modules_with,
    unpack,
)

_BITS = 4
_A_WORD = 8
_PLACE = np.array([0, 4, 1, 5, 2, 6, 3, 7])  # where in its word an output lies
_HINT = "Use the original checkpoint, or an AWQ one of 4 bits, version gemm, with zero points."


def open_awq(fields: Fields, source: TensorSource, path: Path) -> QuantizedSource:
    """The source with its matrices decoded on demand; `fields` is quantization_config.

    Raises UnsupportedModel for other bit widths and versions, CorruptFile for tensors that do not
    fit.

    >>> open_awq(fields, source, Path("model"))  # doctest: +SKIP
    """
    bits = fields.integer("bits", low=1, high=64)
    version = fields.text("version", "gemm").lower()
    if bits != _BITS or version != "gemm" or not fields.flag("zero_point", True):
        points = "with" if fields.flag("zero_point", True) else "without"
        raise UnsupportedModel(
            f"{path}: AWQ of {bits} bits, version {version[:40]!r}, {points} zero points is not "
            "read.",
            hint=_HINT,
        )
    size = group_size(fields)
    matrices = {
        module.name: _matrix(module, size) for module in modules_with(source, path, "qweight")
    }
    return QuantizedSource(source, path, matrices)


def _matrix(module: Module, size: int) -> QuantizedMatrix:
    cols, words = module.dims("qweight", dtypes=("i32",))
    rows = words * _A_WORD
    size = cols if size < 0 else size
    if cols % max(size, 1):
        raise module.fail(f"{cols} inputs are not whole groups of {size}")
    groups = cols // max(size, 1)
    module.expect("qzeros", (groups, words), dtypes=("i32",))
    dtype = module.scales("scales", (groups, rows))
    decode = partial(_decode, module, (rows, cols), size)
    return module.matrix((rows, cols), dtype, ("qweight", "qzeros", "scales"), decode)


def _in_order(words: npt.NDArray[Any]) -> Bytes:
    """int32 [n, out / 8] -> codes [out, n], outputs in their order."""
    codes = unpack(words, _BITS).reshape(len(words), -1, _A_WORD)
    return codes[..., _PLACE].reshape(len(words), -1).T


def _decode(module: Module, shape: tuple[int, int], size: int) -> Float32:
    packed = module.read("qweight").data
    return dequantize(
        shape,
        lambda a, b: _in_order(packed[:, a // _A_WORD : b // _A_WORD]),
        module.read("scales").float32().T,
        _in_order(module.read("qzeros").data).astype(np.float32),
        group_index(shape[1], size),
    )
