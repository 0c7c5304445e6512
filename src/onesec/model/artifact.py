"""Artifact: OneSec's own saved form of a model, mapped and checked.

It must not know how planes are computed, written or read by kernels: only their sizes (planes.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from onesec.core.closing import Closing
from onesec.core.errors import (
    CorruptFile,
    ModelError,
    ModelNotFound,
    UnsupportedModel,
)

from .config import ModelConfig
from .config_json import config_from_json
from .folder import generation_defaults_of, resolve_inside
from .jsonfile import Fields, read_json
from .ladder import read_ladder, read_narrow
from .names import matrix_shape, required_vectors, vector_length
from .planes import (
    FORMAT,
    GROUP_ROWS,
    VERSION,
    PackedMatrix,
    packed_names,
    packed_shape,
    plane_bytes,
)
from .safetensors import SafetensorsFile
from .tensor import Tensor, check_finite

MAX_CONFIG_BYTES = 16 << 20  # rotary frequencies and windows of every layer are spelt out
Float32 = npt.NDArray[np.float32]


class Artifact(Closing):
    """An open artifact: mapped, its sizes checked. A context manager.

    `config`, `generation_defaults`, `gears` and `recipe` (the JSON values; {} where there is none),
    `ladder` (the mixed gears among them),
    `source` (the folder). Raises CorruptFile, ModelNotFound, UnsupportedModel (another version).
    """

    def __init__(self, path: Path) -> None:
        self.source = path
        fields = _read_header(path)
        self.config = config_from_json(fields)
        self.generation_defaults: dict[str, Any] = {
            "eos_ids": self.config.eos_ids,
            **generation_defaults_of(path, self.config.vocab_size),
        }
        self.gears = self._optional_json("gears.json")
        self.ladder = read_ladder(path / "gears.json", self.gears, self.config)
        self.narrow = read_narrow(path / "gears.json", self.gears, self.config)
        self.recipe = self._optional_json("recipe.json")
        self._file = SafetensorsFile(resolve_inside(path, "model.safetensors"))
        try:
            self._packed = {name: self._check(name) for name in packed_names(self.config)}
            self._vectors = self._check_vectors()
        except BaseException:
            self.close()
            raise

    def _optional_json(self, name: str) -> dict[str, Any]:
        if not (self.source / name).exists():
            return {}
        return read_json(resolve_inside(self.source, name))

    def _tensor(self, name: str, dtype: str, shape: tuple[int, ...]) -> Tensor:
        tensor = self._file.tensors.get(name)
        if tensor is None:
            raise CorruptFile(self._file.path, f"no tensor {name!r} is there")
        if (tensor.dtype, tensor.shape) != (dtype, shape):
            raise CorruptFile(
                self._file.path,
                f"tensor {name!r} is {tensor.dtype} {list(tensor.shape)}; "
                f"the config needs {dtype} {list(shape)}",
            )
        return tensor

    def _check(self, name: str) -> PackedMatrix:
        rows, cols = packed_shape(self.config, name)
        hi, lo = plane_bytes(rows, cols)
        scale = self._tensor(f"{name}.row_scale", "f32", (rows,))
        check_finite(self._file.path, scale)
        none = np.empty(0, np.uint8)
        return PackedMatrix(
            hi=self._tensor(f"{name}.hi", "u8", (hi,)).data,
            lo=none if name in self.narrow else self._tensor(f"{name}.lo", "u8", (lo,)).data,
            row_scale=np.require(scale.data, requirements="A"),
            rows=rows,
            cols=cols,
        )

    def _check_vectors(self) -> dict[str, Float32]:
        planes = {f"{m}.{part}" for m in self._packed for part in ("hi", "lo", "row_scale")}
        vectors: dict[str, Float32] = {}
        for name, tensor in self._file.tensors.items():
            if name in planes:
                continue
            try:
                shape = _vector_shape(self.config, name)
            except KeyError:
                raise CorruptFile(
                    self._file.path, f"tensor {name[:80]!r} has no place in a model"
                ) from None
            check_finite(self._file.path, self._tensor(name, "f32", shape))
            vectors[name] = np.require(tensor.data.reshape(-1), requirements="A")
        learned = ["pos_embed"] if self.config.position == "learned" else []
        for name in (*required_vectors(self.config), *learned):
            if name not in vectors:
                raise CorruptFile(self._file.path, f"no tensor {name!r} is there")
        return vectors

    def matrix_names(self) -> list[str]:
        """Canonical names of the packed matrices, in the order of use."""
        return list(self._packed)

    def packed(self, name: str) -> PackedMatrix:
        """The planes of a matrix: views of the file. KeyError if there is no such matrix."""
        return self._packed[name]

    def vector_names(self) -> list[str]:
        """Names of the vectors, and pos_embed where positions are learned."""
        return list(self._vectors)

    def vector(self, name: str) -> Float32:
        """float32, 1-d (pos_embed: row after row): a view. KeyError if there is none."""
        return self._vectors[name]

    @property
    def vectors(self) -> Mapping[str, Float32]:
        """All of them by name, read-only."""
        return MappingProxyType(self._vectors)

    def touch(self) -> None:
        """Have the system map the file's pages, so that the first step need not stop at each."""
        self._file.touch()

    def release(self, name: str) -> None:
        """Drop the resident pages of a matrix (after copying it elsewhere)."""
        for part in ("hi", "row_scale") if name in self.narrow else ("hi", "lo", "row_scale"):
            self._file.release(f"{name}.{part}")

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return self._file.nbytes

    def close(self) -> None:
        """Close the file. Views that were handed out stay valid."""
        self._file.close()


def _read_header(path: Path) -> Fields:
    if not (path / "config.json").exists():
        raise ModelNotFound(f"{path} has no config.json.", hint="Name an artifact's folder.")
    real = resolve_inside(path, "config.json")
    fields = Fields(path / "config.json", read_json(real, max_bytes=MAX_CONFIG_BYTES))
    if fields.raw("format") != FORMAT:
        raise UnsupportedModel(
            f"{path} is not a OneSec artifact.", hint="Open it as a checkpoint instead."
        )
    version = fields.integer("version", low=0, high=1 << 31)
    if version != VERSION:
        raise UnsupportedModel(
            f"{path} is an artifact of version {version}; this OneSec reads version {VERSION}.",
            hint="Compress the model again, or use the OneSec that wrote it.",
        )
    return fields


def is_artifact(path: str | Path) -> bool:
    """True if the folder's config.json says that it is one, whole or not. Never raises."""
    try:
        file = Path(path) / "config.json"
        return read_json(file, max_bytes=MAX_CONFIG_BYTES).get("format") == FORMAT
    except (ModelError, OSError, ValueError):
        return False


def open_artifact(path: str | Path) -> Artifact:
    """Open an artifact's folder: mapped and checked in milliseconds. Errors as for Artifact.

    >>> with open_artifact("smollm2-135m-onesec") as artifact:  # doctest: +SKIP
    ...     artifact.packed("layers.0.qkv").rows
    960
    """
    return Artifact(Path(path))


def _vector_shape(config: ModelConfig, name: str) -> tuple[int, ...]:
    """Shape of what is stored beside the planes; KeyError if the name has no place in a model."""
    if name == "pos_embed":
        return matrix_shape(config, name)
    if name == "head_residual":  # bounds, one a padded row of the head
        return (-(-config.vocab_size // GROUP_ROWS) * GROUP_ROWS,)
    return (vector_length(config, name),)
