"""Quantised Hugging Face folders, by quantization_config's quant_method: read as plain floats.

It must not know files or families. Nothing is lost but what the form itself lost: every matrix is
offered as the float32 values that its codes and scales stand for.
"""

from __future__ import annotations

from pathlib import Path

from onesec.core.errors import UnsupportedModel
from onesec.model.binding import TensorSource
from onesec.model.jsonfile import Fields

from .awq import open_awq
from .base import QuantizedSource
from .compressed import open_compressed_tensors
from .gptq import open_gptq

_METHODS = {
    "awq": open_awq,
    "compressed-tensors": open_compressed_tensors,
    "gptq": open_gptq,
}


def open_quantized(fields: Fields, source: TensorSource, path: Path) -> QuantizedSource:
    """A source whose quantised matrices are decoded when they are read; `fields` is
    quantization_config, `path` the folder that errors name.

    Raises UnsupportedModel for methods and forms that are not read, CorruptFile for tensors that do
    not fit the config.

    >>> open_quantized(fields, source, Path("model"))  # doctest: +SKIP
    """
    method = fields.text("quant_method", "").lower()
    if method not in _METHODS:
        raise UnsupportedModel(
            f"{path}: the checkpoint was quantised by the method {method[:40]!r}, which is not "
            "read.",
            hint=f"Read are {', '.join(_METHODS)}, and GGUF files; or use the original checkpoint.",
        )
    return _METHODS[method](fields, source, path)
