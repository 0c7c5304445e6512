"""GPTQ folders: 4 or 8 bits, packed along the inputs, zero points of format v1 (less one) or v2.

It must not know files. Tensors of a module, with f = 32 / bits codes a word: qweight int32
[in / f, out], qzeros int32 [groups, out / f], scales [groups, out], and g_idx int32 [in]: the group
of each input, in any order where the columns were quantised by activation (desc_act).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from onesec.core.errors import UnsupportedModel
from onesec.model.binding import TensorSource
from onesec.model.jsonfile import Fields

from .base import (
    WORD_BITS,
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

_ONE_EACH = {4: np.uint32(0x11111111), 8: np.uint32(0x01010101)}
_HINT = "Use the original checkpoint, or quantise it to 4 or 8 bits in the format gptq or gptq_v2."


def open_gptq(fields: Fields, source: TensorSource, path: Path) -> QuantizedSource:
    """The source with its matrices decoded on demand; `fields` is quantization_config.

    Raises UnsupportedModel for other bit widths, formats or widths that differ by module,
    CorruptFile for tensors that do not fit.

    >>> open_gptq(fields, source, Path("model"))  # doctest: +SKIP
    """
    bits = fields.integer("bits", low=1, high=64)
    if bits not in _ONE_EACH:
        raise UnsupportedModel(f"{path}: GPTQ with {bits} bits is not read.", hint=_HINT)
    kind = fields.text("checkpoint_format", fields.text("format", "gptq"))
    if kind not in ("gptq", "gptq_v2") or fields.flag("is_marlin_format", False):
        marlin = "marlin" if kind == "gptq" else kind[:40]
        raise UnsupportedModel(f"{path}: the GPTQ format {marlin!r} is not read.", hint=_HINT)
    if any(not str(key).startswith("-:") for key in _dynamic(fields)):
        raise UnsupportedModel(
            f"{path}: GPTQ whose bits or groups differ from module to module (dynamic) is not "
            "read.",
            hint=_HINT,
        )
    size = group_size(fields)
    ordered = fields.flag("desc_act", False)
    matrices = {
        module.name: _matrix(module, bits, size, v1=kind == "gptq", ordered=ordered)
        for module in modules_with(source, path, "qweight")
    }
    return QuantizedSource(source, path, matrices)


def _dynamic(fields: Fields) -> list[str]:
    """Patterns of modules with rules of their own; those that begin with -: are left plain."""
    inner = fields.inner("dynamic")
    return list(inner.values) if inner else []


def _matrix(module: Module, bits: int, size: int, *, v1: bool, ordered: bool) -> QuantizedMatrix:
    factor = WORD_BITS // bits
    words, rows = module.dims("qweight", dtypes=("i32",))
    cols = words * factor
    size = cols if size < 0 else size
    groups = -(-cols // max(size, 1))
    if rows % factor:
        raise module.fail(f"qweight has {rows} columns, not a multiple of {factor}")
    module.expect("qzeros", (groups, rows // factor), dtypes=("i32",))
    dtype = module.scales("scales", (groups, rows))
    if module.has("g_idx") or ordered:
        module.expect("g_idx", (cols,), dtypes=("i32",))
    return module.matrix(
        (rows, cols),
        dtype,
        ("qweight", "qzeros", "scales", "g_idx"),
        partial(_decode, module, (rows, cols), bits, size, v1),
    )


def _decode(module: Module, shape: tuple[int, int], bits: int, size: int, v1: bool) -> Float32:
    scales = module.read("scales").float32().T
    words = module.read("qzeros").data.view("<u4")
    if v1:  # one was taken from every zero point: whole words, so that 0 borrowed
        words = words + _ONE_EACH[bits]
    zeros = unpack(words, bits).T.astype(np.float32)
    packed = module.read("qweight").data
    if module.has("g_idx"):
        index = module.group_of("g_idx", scales.shape[1])
    else:
        index = group_index(shape[1], size)
    return dequantize(shape, lambda a, b: unpack(packed[:, a:b].T, bits), scales, zeros, index)
