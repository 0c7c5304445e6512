"""Binding: which tensors of a file a model's canonical names stand for, found and checked.

It must not know file formats (a TensorSource reads those) nor what is done with the weights.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

from onesec.core.errors import CorruptFile, UnsupportedModel

from .architectures import Layout, Sources
from .config import ModelConfig
from .names import LAYER, matrix_names, matrix_shape, part_lengths, segment_rows
from .tensor import Tensor


class TensorSource(Protocol):
    """Stored tensors by stored name. Shapes are [out, in], outermost first."""

    def names(self) -> Collection[str]: ...
    def shape(self, name: str) -> tuple[int, ...]: ...
    def dtype(self, name: str) -> str:
        """The stored dtype's tag, quantised ones included."""
        ...

    def read(self, name: str) -> Tensor:
        """The values as f32, f16 or bf16: a view where the file holds them so, else a copy."""
        ...

    def release(self, name: str) -> None:
        """Drop the tensor's resident pages."""
        ...

    @property
    def nbytes(self) -> int: ...
    def close(self) -> None: ...


class Binding:
    """Canonical names to stored ones. `matrices` and `vectors`: for each name the stored tensors
    whose rows follow one another (of a bias some may be absent); `stored`: all that the file has.

    Names, presence and shapes are all checked on construction: CorruptFile for a tensor that is
    missing or of the wrong shape, UnsupportedModel for tensors that the family does not have.
    """

    def __init__(
        self, config: ModelConfig, layout: Layout, source: TensorSource, path: Path
    ) -> None:
        self._config = config
        self._layout = layout
        self._tensors = source
        self._path = path
        self.stored = frozenset(source.names())
        self._prefix = self._find_prefix()
        self.matrices = {name: self._find(layout.matrices, name) for name in matrix_names(config)}
        self.vectors = self._find_vectors()
        self._check_shapes()
        self._check_leftovers()

    def _find_prefix(self) -> str:
        probe = self._layout.vectors["final_norm"][0][0]
        for prefix in self._layout.prefixes:
            if probe.format(p=prefix, i=0) in self.stored:
                return prefix
        raise CorruptFile(self._path, f"no tensor {probe.format(p='', i=0)!r} is there")

    def _spell(self, table: Mapping[str, Sources], name: str) -> list[tuple[str, ...]]:
        match = LAYER.match(name)
        layer = int(match[1]) if match else 0
        return [
            tuple(stored.format(p=self._prefix, i=layer) for stored in group)
            for group in table[LAYER.sub("layers.{i}.", name)]
        ]

    def _find(self, table: Mapping[str, Sources], name: str) -> tuple[str, ...]:
        groups = self._spell(table, name)
        for group in groups:
            if all(stored in self.stored for stored in group):
                return group
        missing = [stored for stored in groups[0] if stored not in self.stored]
        raise CorruptFile(self._path, f"{name}: no tensor {missing[0]!r} is there")

    def _find_vectors(self) -> dict[str, tuple[str, ...]]:
        found = {
            name: self._find(self._layout.vectors, name)
            for name in _expand(self._layout.vectors, self._config.num_layers)
        }
        for name in _expand(self._layout.optional, self._config.num_layers):
            for group in self._spell(self._layout.optional, name):
                if any(stored in self.stored for stored in group):
                    found[name] = group
                    break
        return found

    def _check_shapes(self) -> None:
        for name, group in self.matrices.items():
            rows, cols = matrix_shape(self._config, name)
            parts = segment_rows(self._config, name.rpartition(".")[2])
            if len(group) == 1:
                parts = (rows,)
            for stored, part in zip(group, parts, strict=True):
                expected = (cols, part) if is_transposed(self._layout, name) else (part, cols)
                shape = self._tensors.shape(stored)
                if name == "pos_embed" and len(shape) == 2 and shape[0] >= part:
                    expected = (shape[0], cols)  # more positions than are used: the first ones
                self._expect(stored, shape, expected)
        for name, group in self.vectors.items():
            lengths = part_lengths(self._config, name, len(group))
            for stored, length in zip(group, lengths, strict=True):
                if stored in self.stored:
                    self._expect(stored, self._tensors.shape(stored), (length,))

    def _expect(self, stored: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if shape != expected:
            raise CorruptFile(
                self._path,
                f"tensor {stored!r} has the shape {list(shape)}; the config needs {list(expected)}",
                hint="The config and the weights are of different models: fetch both again.",
            )

    def _check_leftovers(self) -> None:
        used = {
            stored
            for group in (*self.matrices.values(), *self.vectors.values())
            for stored in group
        }
        if self._config.tie_embeddings:  # a stored copy of the embedding
            used.add("lm_head.weight")
        ignored = re.compile("|".join(self._layout.ignored) or r"(?!)")
        left = sorted(
            stored
            for stored in self.stored - used
            if stored.startswith(self._prefix)
            and not ignored.fullmatch(stored.removeprefix(self._prefix))
        )
        if left:
            raise UnsupportedModel(
                f"{self._path}: {len(left)} tensors have no place in {self._config.architecture}: "
                f"{', '.join(name[:60] for name in left[:3])}{' ...' if len(left) > 3 else ''}.",
                hint="Adapters, experts and odd quantised forms are not read (docs/formats.md).",
            )


def is_transposed(layout: Layout, name: str) -> bool:
    """Whether a matrix is stored [in, out].

    >>> is_transposed(GPT2.hf_layout, "layers.0.o")  # doctest: +SKIP
    True
    """
    return layout.conv1d and name.startswith("layers.")


def _expand(table: Mapping[str, Sources], layers: int) -> list[str]:
    """The canonical names that a table's templates spell."""
    return [
        template.format(i=i)
        for template in table
        for i in range(layers if "{i}" in template else 1)
    ]
