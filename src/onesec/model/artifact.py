"""Artifact: OneSec's own saved form of a model: planes, vectors, config, tokenizer, in one folder.

It must not know how planes are computed or read by kernels: only their sizes.

    model.safetensors   <matrix>.hi and .lo (u8), <matrix>.row_scale (f32 [rows]), vectors (f32),
                        pos_embed (f32 [context, hidden]) where positions are learned
    config.json         ModelConfig, with "format": "onesec" and "version"
    gears.json, recipe.json, and the tokenizer's files as they came
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from onesec.core.errors import (
    CorruptFile,
    InvalidRequest,
    ModelError,
    ModelNotFound,
    UnsupportedModel,
)

from .config import ModelConfig
from .config_json import config_from_json, config_to_json
from .folder import generation_defaults_of, resolve_inside
from .jsonfile import Fields, read_json
from .safetensors import SafetensorsFile, SafetensorsWriter
from .tensor import Tensor, check_finite
from .weights import (
    matrix_names,
    matrix_shape,
    required_vectors,
    segment_rows,
    vector_length,
)

FORMAT = "onesec"
VERSION = 1
GROUP_ROWS, GROUP_COLS = 16, 64
HI_BYTES, LO_BYTES = 576, 512  # of 16 rows x 64 columns: codes (and in hi scales and minima)
MAX_CONFIG_BYTES = 16 << 20  # rotary frequencies and windows of every layer are spelt out
COPIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "LICENSE",
    "LICENSE.md",
    "LICENSE.txt",
    "NOTICE",
    "NOTICE.md",
    "NOTICE.txt",
)
Float32 = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    """A matrix [rows, cols] as planes: `hi` and `lo` uint8 1-d, `row_scale` float32 [rows].

    Rows are padded to 16 and columns to 64; a tile of those has 576 bytes in `hi`, 512 in `lo`.
    """

    hi: Bytes
    lo: Bytes
    row_scale: Float32
    rows: int
    cols: int

    @property
    def nbytes(self) -> int:
        """Bytes of all three."""
        return int(self.hi.nbytes + self.lo.nbytes + self.row_scale.nbytes)


def packed_shape(config: ModelConfig, name: str) -> tuple[int, int]:
    """[rows, cols] of a matrix in planes: every segment begins at a tile, so rows are padded.

    >>> packed_shape(config, "embed")  # doctest: +SKIP
    (14032, 128)
    """
    kind = name.rpartition(".")[2]
    rows = sum(-(-n // GROUP_ROWS) * GROUP_ROWS for n in segment_rows(config, kind))
    return rows, matrix_shape(config, name)[1]


def plane_bytes(rows: int, cols: int) -> tuple[int, int]:
    """Bytes of `hi` and of `lo` for a matrix [rows, cols].

    >>> plane_bytes(17, 64)
    (1152, 1024)
    """
    tiles = -(-rows // GROUP_ROWS) * -(-cols // GROUP_COLS)
    return tiles * HI_BYTES, tiles * LO_BYTES


def packed_names(config: ModelConfig) -> list[str]:
    """The matrices that an artifact holds as planes: all but pos_embed."""
    return [name for name in matrix_names(config) if name != "pos_embed"]


class Artifact:
    """An open artifact: mapped, its sizes checked. A context manager.

    `config`, `generation_defaults`, `gears` and `recipe` (the JSON values; {} where there is none),
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
        return PackedMatrix(
            hi=self._tensor(f"{name}.hi", "u8", (hi,)).data,
            lo=self._tensor(f"{name}.lo", "u8", (lo,)).data,
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
                shape: tuple[int, ...] = (
                    matrix_shape(self.config, name)
                    if name == "pos_embed"
                    else (vector_length(self.config, name),)
                )
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
        for part in ("hi", "lo", "row_scale"):
            self._file.release(f"{name}.{part}")

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return self._file.nbytes

    def close(self) -> None:
        """Close the file. Views that were handed out stay valid."""
        self._file.close()

    def __enter__(self) -> Artifact:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


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


def write_artifact(
    path: str | Path,
    config: ModelConfig,
    packed: Iterable[tuple[str, PackedMatrix]],
    vectors: Mapping[str, Float32],
    companions: Callable[[Path], None] | None = None,
    *,
    gears: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> Path:
    """Write an artifact folder: matrix by matrix as `packed` yields them, complete or not at all.

    `companions` writes what belongs beside the weights (tokenizer, chat template, licence) into
    the folder it is given: `Tokenizer.save`, or `copy_companions` of another folder. An artifact at
    `path` is replaced; anything else there is InvalidRequest. Raises ModelError where the disk
    refuses, ValueError for matrices that do not fit the config.

    >>> write_artifact("out", config, packed, vectors, tokenizer.save)  # doctest: +SKIP
    """
    path = Path(path)
    if path.exists() and not is_artifact(path) and not (path.is_dir() and not any(path.iterdir())):
        raise InvalidRequest(
            f"{path} exists and is not an artifact; it is not overwritten.",
            hint="Choose another folder.",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        try:
            part.chmod(0o755)
            _write_tensors(part / "model.safetensors", config, packed, vectors)
            values = {"format": FORMAT, "version": VERSION, **config_to_json(config)}
            _write_json(part / "config.json", values)
            _write_json(part / "gears.json", dict(gears or {}))
            _write_json(part / "recipe.json", dict(recipe or {}))
            if companions is not None:
                companions(part)
            _swap(part, path)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as exc:
        raise ModelError(
            f"{path} cannot be written ({exc.strerror}).", hint="Check space and permissions."
        ) from exc
    return path


def _write_tensors(
    path: Path,
    config: ModelConfig,
    packed: Iterable[tuple[str, PackedMatrix]],
    vectors: Mapping[str, Float32],
) -> None:
    expected = packed_names(config)
    count = 3 * len(expected) + len(vectors)
    with SafetensorsWriter(path, max_tensors=count, metadata={"format": FORMAT}) as out:
        given = []
        for name, matrix in packed:
            if name not in expected or (matrix.rows, matrix.cols) != packed_shape(config, name):
                raise ValueError(f"{name} [{matrix.rows}, {matrix.cols}] does not fit the config")
            if (matrix.hi.nbytes, matrix.lo.nbytes) != plane_bytes(matrix.rows, matrix.cols):
                raise ValueError(f"{name}: planes of {matrix.hi.nbytes}, {matrix.lo.nbytes} bytes")
            out.add(f"{name}.hi", matrix.hi)
            out.add(f"{name}.lo", matrix.lo)
            out.add(f"{name}.row_scale", matrix.row_scale)
            given.append(name)
        if set(given) != set(expected):
            raise ValueError(f"matrices are missing: {sorted(set(expected) - set(given))[:3]}")
        for name, vector in vectors.items():
            values = vector.astype(np.float32, copy=False)
            if name == "pos_embed":
                values = values.reshape(matrix_shape(config, name))
            out.add(name, values)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(values, file, indent=1, ensure_ascii=False, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def copy_companions(source: Path, target: Path) -> None:
    """Copy a model folder's tokenizer, chat template, generation_config and licence files.

    Raises CorruptFile for a link that leads out of `source`, OSError where the disk refuses.

    >>> copy_companions(Path("model"), Path("out"))  # doctest: +SKIP
    """
    for name in COPIED:
        if (source / name).exists():
            shutil.copyfile(resolve_inside(source, name), target / name)


def _swap(part: Path, path: Path) -> None:
    """Give the finished folder its name; the folder that had it goes."""
    old = part.with_suffix(".old")
    if path.exists():
        path.rename(old)
    part.rename(path)
    shutil.rmtree(old, ignore_errors=True)
