"""compressed-tensors out: a Hugging Face folder whose linear layers are packed integers.

It must not know where weights come from (source.py). Rounding and packing are those of the
compressed-tensors package: scales from the extremes of each group of 32, in bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onesec.core.errors import InvalidRequest, UnsupportedModel
from onesec.core.paths import path_of
from onesec.model.architectures import HF_ARCHITECTURES
from onesec.model.artifact_writer import write_json
from onesec.model.hf_config import hf_config
from onesec.model.jsonfile import read_json
from onesec.model.partfile import disk_errors
from onesec.model.partfolder import check_name, part_folder
from onesec.model.safetensors import SafetensorsWriter
from onesec.model.tensor import Tensor, bfloat16_bits
from onesec.model.unbinding import matrix_parts, matrix_values, vector_parts

from .source import Outgoing

GROUP = 32
BITS = (4, 8)
Float32 = npt.NDArray[np.float32]
Part = tuple[str, npt.NDArray[Any], str | None]  # a stored name, an array, the tag of its dtype
_PLAIN = ("embed", "pos_embed", "head")  # no linear layers, and one that is left out by custom


def export_compressed(
    outgoing: Outgoing,
    companions: Callable[[Path], None],
    path: Path,
    *,
    bits: int = 4,
    symmetric: bool = True,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write a folder in the form pack-quantized, whole or not at all.

    companions   writes the tokenizer's files into the folder that it is given
    bits         4 or 8; groups of 32 columns have a scale each, and a zero point if not `symmetric`
    progress     gets fractions of 1

    The embedding, the head, and matrices whose columns are no whole groups stay floats. config.json
    is the checkpoint's own where it has one.

    Raises UnsupportedModel for families that are not written, CorruptFile for weights that are not
    finite, InvalidRequest where something is at `path`, ModelError where the disk refuses.

    >>> export_compressed(outgoing, tokenizer.save, Path("out"), bits=4)  # doctest: +SKIP
    """
    path = path_of(path)
    check_name(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InvalidRequest(
            f"{path} exists; it is not overwritten.", hint="Choose another folder."
        )
    values = _config_values(outgoing, path)
    layout = HF_ARCHITECTURES[values["model_type"]].hf_layout
    config = outgoing.config
    ignored = [
        stored.removesuffix(".weight")
        for name in outgoing.matrix_names()
        for stored, (_, cols) in matrix_parts(layout, config, name)
        if name == "head" or (name not in _PLAIN and cols % GROUP)
    ]
    # A tied head is not stored, yet whoever reads the folder has such a layer.
    ignored += [] if "lm_head" in ignored else ["lm_head"]
    values["quantization_config"] = _quantization(bits, symmetric, ignored)

    def parts() -> Iterator[Part]:
        for name, vector in outgoing.vectors():
            for stored, value in vector_parts(layout, config, name, vector, path):
                yield stored, value, None
        names = outgoing.matrix_names()
        for done, name in enumerate(names):
            tensors = outgoing.matrix(name)
            places = matrix_parts(layout, config, name)
            if name in _PLAIN:
                yield places[0][0], tensors[0].data, _tag(tensors[0])
            else:
                segments = [tensor.float32() for tensor in tensors]
                arrays = matrix_values(layout, config, name, segments)
                for (stored, _), array in zip(places, arrays, strict=True):
                    module = stored.removesuffix(".weight")
                    if module in ignored:
                        yield stored, array, None
                    else:
                        yield from packed_parts(module, array, bits, symmetric=symmetric)
            outgoing.release(name)
            if progress is not None:
                progress((done + 1) / len(names))

    with disk_errors(path), part_folder(path) as part:
        room = 4 * 3 * len(outgoing.matrix_names()) + 3 * len(list(outgoing.vectors()))
        with SafetensorsWriter(
            part / "model.safetensors", max_tensors=room, metadata={"format": "pt"}
        ) as out:
            for stored, array, tag in parts():
                out.add(stored, array, tag)
        companions(part)
        write_json(part / "config.json", values)


def _tag(tensor: Tensor) -> str | None:
    return "bf16" if tensor.dtype == "bf16" else None


def way_out(outgoing: Outgoing, path: Path) -> str:
    """The next step for a model that GGUF cannot say."""
    try:
        _config_values(outgoing, path)
    except UnsupportedModel as refused:
        return refused.hint
    return "Export to compressed-tensors."


def _config_values(outgoing: Outgoing, path: Path) -> dict[str, Any]:
    """The checkpoint's own config.json, or one that says the same."""
    own = outgoing.path / "config.json"
    if outgoing.gear is None and outgoing.path.is_dir() and own.exists():
        values = read_json(own)
        if values.get("text_config") is None:
            if HF_ARCHITECTURES[values["model_type"]].hf_layout.conv1d:
                raise UnsupportedModel(
                    f"{path}: models of the type {values['model_type']} are not written in this "
                    "format.",
                    hint="Export them to GGUF.",
                )
            dropped = ("quantization_config", "compression_config")
            return {key: value for key, value in values.items() if key not in dropped}
    biases = {name.rpartition(".")[2] for name, vector in outgoing.vectors() if vector.any()}
    return hf_config(outgoing.config, path, {name for name in biases if name.endswith("_bias")})


def _quantization(bits: int, symmetric: bool, ignored: list[str]) -> dict[str, Any]:
    weights = {
        "num_bits": bits,
        "type": "int",
        "symmetric": symmetric,
        "strategy": "group",
        "group_size": GROUP,
        "dynamic": False,
    }
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        "ignore": ignored,
    }


def packed_parts(module: str, matrix: Float32, bits: int, *, symmetric: bool) -> Iterator[Part]:
    """The stored tensors of a matrix [out, in] of whole groups.

    >>> [name for name, *_ in packed_parts("m", np.ones((8, 32), np.float32), 4, symmetric=True)]
    ['m.weight_packed', 'm.weight_scale', 'm.weight_shape']
    """
    rows, cols = matrix.shape
    half, steps = 1 << (bits - 1), np.float32((1 << bits) - 1)
    groups = matrix.reshape(rows, cols // GROUP, GROUP)
    low = np.minimum(groups.min(axis=2), 0)
    high = np.maximum(groups.max(axis=2), 0)
    span = 2 * np.maximum(-low, high) if symmetric else high - low
    exact = span / steps
    exact = np.where(exact == 0, np.finfo(np.float32).eps, exact)
    scale_bits = bfloat16_bits(exact)
    scale = (scale_bits.astype(np.uint32) << 16).view(np.float32)[..., None]
    zeros = np.zeros_like(low)
    if not symmetric:
        zeros = np.rint(np.clip(-half - low / exact, -half, half - 1)).astype(np.float32)
    codes = np.rint(np.clip(groups / scale + zeros[..., None], -half, half - 1)).astype(np.int16)
    yield f"{module}.weight_packed", _words(codes.reshape(rows, cols) + half, bits), None
    yield f"{module}.weight_scale", scale_bits, "bf16"
    yield f"{module}.weight_shape", np.array([rows, cols], np.int64), None
    if not symmetric:
        packed = _words(zeros.astype(np.int16).T + half, bits).T
        yield f"{module}.weight_zero_point", np.ascontiguousarray(packed), None


def _words(codes: npt.NDArray[np.int16], bits: int) -> npt.NDArray[np.int32]:
    """int32 [n, ceil(m * bits / 32)] of codes [n, m], the first in the lowest bits."""
    per_word = 32 // bits
    padded = np.zeros((len(codes), -(-codes.shape[1] // per_word) * per_word), np.uint8)
    padded[:, : codes.shape[1]] = codes
    if bits == 4:
        padded = padded[:, ::2] | padded[:, 1::2] << 4
    return np.ascontiguousarray(padded).view("<i4")
