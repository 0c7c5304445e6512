"""Checkpoint: a model's weights under canonical names, whatever file they lie in.

It must not know file formats (a TensorSource reads those) nor how weights are packed or used.
Canonical names are listed in architectures/base.py.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from onesec.core.errors import CorruptFile, UnsupportedModel

from .architectures import Layout, Sources
from .config import ModelConfig
from .tensor import FLOAT_DTYPES, Tensor, check_finite

Float32 = npt.NDArray[np.float32]
_LAYER = re.compile(r"layers\.(\d+)\.")


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


def segment_rows(config: ModelConfig, kind: str) -> tuple[int, ...]:
    """Rows of each segment of a matrix (or of its bias), in order; `kind` is without its layer.

    >>> segment_rows(config, "qkv")  # doctest: +SKIP
    (2048, 512, 512)
    """
    q, kv = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    return {
        "embed": (config.vocab_size,),
        "pos_embed": (config.context_length,),
        "qkv": (q, kv, kv),
        "o": (config.hidden_size,),
        "gate_up": (config.intermediate_size,) * 2,
        "up": (config.intermediate_size,),
        "down": (config.hidden_size,),
        "head": (config.vocab_size,),
    }[kind]


def matrix_shape(config: ModelConfig, name: str) -> tuple[int, int]:
    """[out, in] of a canonical matrix; KeyError if the name is not canonical."""
    kind = name.rpartition(".")[2]
    cols = {"o": config.num_heads * config.head_dim, "down": config.intermediate_size}
    return sum(segment_rows(config, kind)), cols.get(kind, config.hidden_size)


def matrix_names(config: ModelConfig) -> list[str]:
    """Canonical names of the matrices that a model of this config has, in the order of use."""
    ffn = "gate_up" if config.gated else "up"
    return [
        "embed",
        *(["pos_embed"] if config.position == "learned" else []),
        *(f"layers.{i}.{m}" for i in range(config.num_layers) for m in ("qkv", "o", ffn, "down")),
        *([] if config.tie_embeddings else ["head"]),
    ]


_LAYER_NORMS = ("attn_norm", "post_attn_norm", "ffn_norm", "post_ffn_norm")
_HEAD_NORMS = ("q_norm", "k_norm")
_BIASED = ("qkv", "o", "gate_up", "up", "down")


def vector_length(config: ModelConfig, name: str) -> int:
    """Length of a canonical vector; KeyError if the name is not canonical."""
    match = _LAYER.match(name)
    kind = name.rpartition(".")[2]
    base = kind.removesuffix("_bias")
    if match is None:
        if name == "head_bias":
            return config.vocab_size
        if base == name or base + "_bias" == name:
            return {"final_norm": config.hidden_size}[base]
    elif name == f"layers.{int(match[1])}.{kind}" and int(match[1]) < config.num_layers:
        if kind in _HEAD_NORMS:
            return config.head_dim
        if base in _LAYER_NORMS:
            return config.hidden_size
        if base != kind and base in _BIASED:
            return sum(segment_rows(config, base))
    raise KeyError(name)


def required_vectors(config: ModelConfig) -> list[str]:
    """The norms that a model of this config cannot run without (matrices may lack biases)."""
    norms = ["attn_norm", "ffn_norm"]
    norms += ["post_attn_norm", "post_ffn_norm"] if config.post_norms else []
    suffixes = ("", "_bias") if config.norm == "layer" else ("",)
    kinds = [norm + suffix for norm in norms for suffix in suffixes]
    kinds += _HEAD_NORMS if config.qk_norm else ()
    return [
        *(f"layers.{i}.{kind}" for i in range(config.num_layers) for kind in kinds),
        *("final_norm" + suffix for suffix in suffixes),
    ]


def _expand(table: Mapping[str, Sources], layers: int) -> list[str]:
    """The canonical names that a table's templates spell."""
    return [
        template.format(i=i)
        for template in table
        for i in range(layers if "{i}" in template else 1)
    ]


class Checkpoint:
    """An open model: config, matrices and vectors by canonical name. A context manager.

    Names, presence and shapes are all checked on construction: CorruptFile for a tensor that is
    missing or of the wrong shape, UnsupportedModel for tensors that the family does not have.
    """

    def __init__(
        self,
        config: ModelConfig,
        layout: Layout,
        source: TensorSource,
        *,
        path: Path,
        generation_defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config
        self.source = path
        self.generation_defaults = dict(generation_defaults or {})
        self._layout = layout
        self._tensors = source
        self._stored = frozenset(source.names())
        self._prefix = self._find_prefix()
        self._matrices = {name: self._find(layout.matrices, name) for name in matrix_names(config)}
        self._vectors = self._find_vectors()
        self._check_shapes()
        self._check_leftovers()

    # Names

    def _find_prefix(self) -> str:
        probe = self._layout.vectors["final_norm"][0][0]
        for prefix in self._layout.prefixes:
            if probe.format(p=prefix, i=0) in self._stored:
                return prefix
        raise CorruptFile(self.source, f"no tensor {probe.format(p='', i=0)!r} is there")

    def _spell(self, table: Mapping[str, Sources], name: str) -> list[tuple[str, ...]]:
        match = _LAYER.match(name)
        layer = int(match[1]) if match else 0
        return [
            tuple(stored.format(p=self._prefix, i=layer) for stored in group)
            for group in table[_LAYER.sub("layers.{i}.", name)]
        ]

    def _find(self, table: Mapping[str, Sources], name: str) -> tuple[str, ...]:
        groups = self._spell(table, name)
        for group in groups:
            if all(stored in self._stored for stored in group):
                return group
        missing = [stored for stored in groups[0] if stored not in self._stored]
        raise CorruptFile(self.source, f"{name}: no tensor {missing[0]!r} is there")

    def _find_vectors(self) -> dict[str, tuple[str, ...]]:
        found = {
            name: self._find(self._layout.vectors, name)
            for name in _expand(self._layout.vectors, self.config.num_layers)
        }
        for name in _expand(self._layout.optional, self.config.num_layers):
            for group in self._spell(self._layout.optional, name):
                if any(stored in self._stored for stored in group):
                    found[name] = group
                    break
        return found

    # Checks

    def _check_shapes(self) -> None:
        for name, group in self._matrices.items():
            rows, cols = matrix_shape(self.config, name)
            parts = segment_rows(self.config, name.rpartition(".")[2])
            if len(group) == 1:
                parts = (rows,)
            for stored, part in zip(group, parts, strict=True):
                expected = (cols, part) if self._is_transposed(name) else (part, cols)
                shape = self._tensors.shape(stored)
                if name == "pos_embed" and len(shape) == 2 and shape[0] >= part:
                    expected = (shape[0], cols)  # more positions than are used: the first ones
                self._expect(stored, shape, expected)
        for name, group in self._vectors.items():
            kind = name.rpartition(".")[2]
            lengths: tuple[int, ...] = (vector_length(self.config, name),)
            if len(group) > 1:
                lengths = segment_rows(self.config, kind.removesuffix("_bias"))
            for stored, length in zip(group, lengths, strict=True):
                if stored in self._stored:
                    self._expect(stored, self._tensors.shape(stored), (length,))

    def _expect(self, stored: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if shape != expected:
            raise CorruptFile(
                self.source,
                f"tensor {stored!r} has the shape {list(shape)}; the config needs {list(expected)}",
                hint="The config and the weights are of different models: fetch both again.",
            )

    def _check_leftovers(self) -> None:
        used = {
            stored
            for group in (*self._matrices.values(), *self._vectors.values())
            for stored in group
        }
        if self.config.tie_embeddings:  # a stored copy of the embedding
            used.add("lm_head.weight")
        ignored = re.compile("|".join(self._layout.ignored) or r"(?!)")
        left = sorted(
            stored
            for stored in self._stored - used
            if stored.startswith(self._prefix)
            and not ignored.fullmatch(stored.removeprefix(self._prefix))
        )
        if left:
            raise UnsupportedModel(
                f"{self.source}: {len(left)} tensors have no place in {self.config.architecture}: "
                f"{', '.join(name[:60] for name in left[:3])}{' ...' if len(left) > 3 else ''}.",
                hint="Adapters, experts and quantised checkpoints of other tools are not read.",
            )

    def _is_transposed(self, name: str) -> bool:
        return self._layout.conv1d and name.startswith("layers.")

    # Reading

    def matrix_names(self) -> list[str]:
        """embed, pos_embed (learned positions only), layers.{i}.*, head (unless tied)."""
        return list(self._matrices)

    def matrix(self, name: str) -> list[Tensor]:
        """The matrix as row segments, each [rows, cols], C-contiguous, aligned, f32, f16 or bf16.

        Views of the file where it holds them so. qkv comes as q, k, v; gate_up as gate, up.
        Values are not checked (see check_finite), except for pos_embed, which is not packed.
        KeyError if there is no such matrix.
        """
        group = self._matrices[name]
        kind = name.rpartition(".")[2]
        rows = segment_rows(self.config, kind)
        tensors = [self._read(stored) for stored in group]
        if self._is_transposed(name):
            tensors = [_replace(t, t.data.T) for t in tensors]
        if len(tensors) == 1:
            ends = np.cumsum(rows).tolist()
            tensors = [
                _replace(tensors[0], tensors[0].data[end - count : end])
                for count, end in zip(rows, ends, strict=True)
            ]
        if self._layout.interleaved_qk and kind == "qkv":
            config = self.config
            tensors[0] = _replace(tensors[0], _half_split(tensors[0].data, config.num_heads))
            tensors[1] = _replace(tensors[1], _half_split(tensors[1].data, config.num_kv_heads))
        if kind == "pos_embed":
            self.check_finite(name, tensors)
        return [_replace(t, np.require(t.data, requirements=("C", "A"))) for t in tensors]

    def vector_names(self) -> list[str]:
        """Norms and biases that this model has."""
        return list(self._vectors)

    def vector(self, name: str) -> Float32:
        """A norm's weight or a bias, float32, 1-d, checked to be finite. KeyError if there is none.

        A bias of q, k, v (gate, up) of which only some exist has zeros for the others.
        """
        group = self._vectors[name]
        kind = name.rpartition(".")[2]
        lengths: tuple[int, ...] = (vector_length(self.config, name),)
        if len(group) > 1:
            lengths = segment_rows(self.config, kind.removesuffix("_bias"))
        parts: list[Float32] = []
        for stored, length in zip(group, lengths, strict=True):
            if stored not in self._stored:
                parts.append(np.zeros(length, dtype=np.float32))
                continue
            tensor = self._read(stored)
            check_finite(self.source, tensor)
            parts.append(tensor.float32())
        if self._layout.interleaved_qk and kind == "qkv_bias":
            parts = list(np.split(np.concatenate(parts), np.cumsum(self._qkv_rows())[:-1]))
            parts[0] = _half_split(parts[0], self.config.num_heads)
            parts[1] = _half_split(parts[1], self.config.num_kv_heads)
        value = np.concatenate(parts)
        if kind.endswith("_norm") and self._layout.norm_offset:
            value = value + np.float32(self._layout.norm_offset)
        return value

    def _qkv_rows(self) -> tuple[int, ...]:
        return segment_rows(self.config, "qkv")

    def vectors(self) -> dict[str, Float32]:
        """All that is not packed, as float32: every vector, and pos_embed [context, hidden]."""
        values = {name: self.vector(name) for name in self._vectors}
        if "pos_embed" in self._matrices:
            values["pos_embed"] = self.matrix("pos_embed")[0].float32()
        return values

    def _read(self, stored: str) -> Tensor:
        tensor = self._tensors.read(stored)
        if tensor.dtype not in FLOAT_DTYPES:
            raise UnsupportedModel(
                f"{self.source}: tensor {stored!r} is {tensor.dtype}; "
                f"{', '.join(FLOAT_DTYPES)} are read.",
                hint="Use a checkpoint that is not quantised, or a GGUF file.",
            )
        return tensor

    def check_finite(self, name: str, segments: list[Tensor]) -> None:
        """Raise CorruptFile, naming the stored tensor, if a value of the matrix is not finite."""
        for segment in segments:
            check_finite(self.source, segment)

    def release(self, name: str) -> None:
        """Drop the source's resident pages behind a matrix: they come back when touched."""
        for stored in self._matrices[name]:
            self._tensors.release(stored)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors in the source."""
        return self._tensors.nbytes

    def close(self) -> None:
        """Close the source. Views that were handed out stay valid."""
        self._tensors.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _replace(tensor: Tensor, data: npt.NDArray[Any]) -> Tensor:
    return Tensor(tensor.name, tensor.dtype, data.shape, data)


def _half_split(data: npt.NDArray[Any], heads: int) -> npt.NDArray[Any]:
    """Rows (0, 1), (2, 3), ... of each head as rotary pairs -> pairs (i, i + half)."""
    pairs = data.reshape(heads, data.shape[0] // heads // 2, 2, *data.shape[1:])
    return pairs.swapaxes(1, 2).reshape(data.shape)
