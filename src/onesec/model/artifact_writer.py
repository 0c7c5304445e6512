"""Writing artifacts: complete under their name, or not there at all.

It must not know how planes are computed: they come matrix by matrix.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onesec.core.errors import InvalidRequest
from onesec.core.paths import path_of

from .artifact import is_artifact
from .config import ModelConfig
from .config_json import config_to_json
from .folder import resolve_inside
from .names import matrix_shape
from .partfile import disk_errors
from .partfolder import check_name, part_folder
from .planes import FORMAT, VERSION, Float32, PackedMatrix, packed_names, packed_shape, plane_bytes
from .safetensors import SafetensorsWriter

COPIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/*.jinja",
    "generation_config.json",
    "LICENSE",
    "LICENSE.md",
    "LICENSE.txt",
    "NOTICE",
    "NOTICE.md",
    "NOTICE.txt",
)


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
    `path` is replaced; anything else there is InvalidRequest, and what is no path. Raises
    ModelError where the disk refuses, ValueError for matrices that do not fit the config.

    >>> write_artifact("out", config, packed, vectors, tokenizer.save)  # doctest: +SKIP
    """
    path = path_of(path)
    check_target(path)
    with disk_errors(path), part_folder(path) as part:
        narrow = _write_tensors(part / "model.safetensors", config, packed, vectors)
        values = {"format": FORMAT, "version": VERSION, **config_to_json(config)}
        write_json(part / "config.json", values)
        write_json(part / "gears.json", dict(gears or {}) | ({"narrow": narrow} if narrow else {}))
        write_json(part / "recipe.json", dict(recipe or {}))
        if companions is not None:
            companions(part)
    return path


def check_target(path: Path) -> None:
    """Raise InvalidRequest where something lies that an artifact must not replace, or where the
    path has no name.

    >>> check_target(Path("/etc"))  # doctest: +SKIP
    """
    check_name(path)
    with disk_errors(path):
        free = not path.exists() or is_artifact(path)
        free = free or (path.is_dir() and not any(path.iterdir()))
    if not free:
        raise InvalidRequest(
            f"{path} exists and is not an artifact; it is not overwritten.",
            hint="Choose another folder.",
        )


def _write_tensors(
    path: Path,
    config: ModelConfig,
    packed: Iterable[tuple[str, PackedMatrix]],
    vectors: Mapping[str, Float32],
) -> list[str]:
    """The names of the matrices that have no `lo`."""
    expected = packed_names(config)
    narrow = []
    count = 3 * len(expected) + len(vectors)
    with SafetensorsWriter(path, max_tensors=count, metadata={"format": FORMAT}) as out:
        given = []
        for name, matrix in packed:
            if name not in expected or (matrix.rows, matrix.cols) != packed_shape(config, name):
                raise ValueError(f"{name} [{matrix.rows}, {matrix.cols}] does not fit the config")
            hi_bytes, lo_bytes = plane_bytes(matrix.rows, matrix.cols)
            if matrix.hi.nbytes != hi_bytes or matrix.lo.nbytes not in (0, lo_bytes):
                raise ValueError(f"{name}: planes of {matrix.hi.nbytes}, {matrix.lo.nbytes} bytes")
            out.add(f"{name}.hi", matrix.hi)
            if matrix.lo.nbytes:
                out.add(f"{name}.lo", matrix.lo)
            else:
                narrow.append(name)
            out.add(f"{name}.row_scale", matrix.row_scale)
            given.append(name)
        if set(given) != set(expected):
            raise ValueError(f"matrices are missing: {sorted(set(expected) - set(given))[:3]}")
        for name, vector in vectors.items():
            values = vector.astype(np.float32, copy=False)
            if name == "pos_embed":
                values = values.reshape(matrix_shape(config, name))
            out.add(name, values)
    return narrow


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write and sync a JSON file. Raises OSError where the disk refuses."""
    with path.open("w", encoding="utf-8") as file:
        json.dump(values, file, indent=1, ensure_ascii=False, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def copy_companions(source: Path, target: Path, patterns: Iterable[str] = COPIED) -> None:
    """Copy those of a model folder's files that are there: usually its tokenizer, chat templates,
    generation_config and licence.

    Raises CorruptFile for a link that leads out of `source`, OSError where the disk refuses.

    >>> copy_companions(Path("model"), Path("out"))  # doctest: +SKIP
    """
    for file, name in _companions(source, patterns):
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target / name)


def companion_bytes(source: Path) -> int:
    """Bytes of what copy_companions copies. Raises CorruptFile for a link that leads out of
    `source`, OSError where a file cannot be looked at.

    >>> companion_bytes(Path("model"))  # doctest: +SKIP
    86434
    """
    return sum(file.stat().st_size for file, _ in _companions(source, COPIED))


def _companions(source: Path, patterns: Iterable[str]) -> Iterator[tuple[Path, Path]]:
    """The files that are there, with links followed, and their names inside the folder."""
    for name in [f.relative_to(source) for pattern in patterns for f in source.glob(pattern)]:
        file = resolve_inside(source, name.as_posix())
        if file.is_file():  # else a link to nothing
            yield file, name
