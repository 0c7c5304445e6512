"""Checkpoint: a model's weights under canonical names, whatever file they lie in.

It must not know file formats (a TensorSource reads those) nor how weights are packed or used.
Canonical names are listed in architectures/base.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onesec.core.closing import Closing
from onesec.core.errors import UnsupportedModel

from .architectures import Layout
from .binding import Binding, TensorSource, is_transposed
from .config import ModelConfig
from .names import part_lengths, segment_rows
from .tensor import FLOAT_DTYPES, Tensor, check_finite

Float32 = npt.NDArray[np.float32]


class Checkpoint(Closing):
    """An open model: config, matrices and vectors by canonical name. A context manager.

    Errors on construction as for Binding.
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
        self._binding = Binding(config, layout, source, path)

    def matrix_names(self) -> list[str]:
        """embed, pos_embed (learned positions only), layers.{i}.*, head (unless tied)."""
        return list(self._binding.matrices)

    def matrix(self, name: str) -> list[Tensor]:
        """The matrix as row segments, each [rows, cols], C-contiguous, aligned, f32, f16 or bf16.

        Views of the file where it holds them so. qkv comes as q, k, v; gate_up as gate, up.
        Values are not checked (see check_finite), except for pos_embed, which is not packed.
        KeyError if there is no such matrix.
        """
        group = self._binding.matrices[name]
        kind = name.rpartition(".")[2]
        rows = segment_rows(self.config, kind)
        tensors = [self._read(stored) for stored in group]
        if is_transposed(self._layout, name):
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
        return list(self._binding.vectors)

    def vector(self, name: str) -> Float32:
        """A norm's weight or a bias, float32, 1-d, checked to be finite. KeyError if there is none.

        A bias of q, k, v (gate, up) of which only some exist has zeros for the others.
        """
        group = self._binding.vectors[name]
        kind = name.rpartition(".")[2]
        lengths = part_lengths(self.config, name, len(group))
        parts: list[Float32] = []
        for stored, length in zip(group, lengths, strict=True):
            if stored not in self._binding.stored:
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
        values = {name: self.vector(name) for name in self._binding.vectors}
        if "pos_embed" in self._binding.matrices:
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
        for stored in self._binding.matrices[name]:
            self._tensors.release(stored)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors in the source."""
        return self._tensors.nbytes

    def close(self) -> None:
        """Close the source. Views that were handed out stay valid."""
        self._tensors.close()


def _replace(tensor: Tensor, data: npt.NDArray[Any]) -> Tensor:
    return Tensor(tensor.name, tensor.dtype, data.shape, data)


def _half_split(data: npt.NDArray[Any], heads: int) -> npt.NDArray[Any]:
    """Rows (0, 1), (2, 3), ... of each head as rotary pairs -> pairs (i, i + half)."""
    pairs = data.reshape(heads, data.shape[0] // heads // 2, 2, *data.shape[1:])
    return pairs.swapaxes(1, 2).reshape(data.shape)
