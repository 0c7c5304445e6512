"""Unbinding: canonical weights to the tensors that a layout stores: what binding does, backwards.

It must not know files. Matrices are [out, in] float32; a matrix of several segments (q, k, v) comes
as these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onesec.core.errors import UnsupportedModel

from .architectures import Layout, Sources
from .config import ModelConfig
from .names import LAYER, matrix_shape, part_lengths, segment_rows

Float32 = npt.NDArray[np.float32]


def _stored(layout: Layout, sources: Sources, name: str) -> tuple[str, ...]:
    """The names under which a canonical one is written: the first alternative, or the fused one."""
    match = LAYER.match(name)
    groups = sorted(sources, key=len) if layout.fused else sources
    spelling = {"p": layout.prefixes[0], "i": int(match[1]) if match else 0}
    return tuple(stored.format(**spelling) for stored in groups[0])


def matrix_parts(
    layout: Layout, config: ModelConfig, name: str
) -> list[tuple[str, tuple[int, int]]]:
    """Stored names and shapes of a canonical matrix, before a value is read."""
    stored = _stored(layout, layout.matrices[LAYER.sub("layers.{i}.", name)], name)
    rows, cols = matrix_shape(config, name)
    parts = (rows,) if len(stored) == 1 else segment_rows(config, name.rpartition(".")[2])
    return [(part, (count, cols)) for part, count in zip(stored, parts, strict=True)]


def matrix_values(
    layout: Layout, config: ModelConfig, name: str, segments: Sequence[Float32]
) -> list[Float32]:
    """The arrays of matrix_parts, from the canonical segments."""
    arrays = list(segments)
    if layout.interleaved_qk and name.endswith(".qkv"):
        arrays[0] = _interleaved(arrays[0], config.num_heads)
        arrays[1] = _interleaved(arrays[1], config.num_kv_heads)
    whole = len(matrix_parts(layout, config, name)) == 1 and len(arrays) > 1
    return [np.concatenate(arrays)] if whole else arrays


def vector_parts(
    layout: Layout, config: ModelConfig, name: str, value: Float32, path: Path
) -> Iterator[tuple[str, Float32]]:
    """Stored names and values of a canonical vector.

    A bias of zeros for which the layout has no place is left out; UnsupportedModel for any other.
    """
    sources = {**layout.optional, **layout.vectors}.get(LAYER.sub("layers.{i}.", name))
    if sources is None:
        if value.any() or not name.endswith("_bias"):
            raise UnsupportedModel(
                f"{path}: this format has no place for {name} in models of this family.",
                hint="Export to another format.",
            )
        return
    stored = _stored(layout, sources, name)
    kind = name.rpartition(".")[2]
    if layout.interleaved_qk and kind == "qkv_bias":
        parts = np.split(value, np.cumsum(segment_rows(config, "qkv"))[:-1])
        parts[0] = _interleaved(parts[0], config.num_heads)
        parts[1] = _interleaved(parts[1], config.num_kv_heads)
        value = np.concatenate(parts)
    if kind.endswith("_norm"):
        value = value - np.float32(layout.norm_offset)
    lengths = part_lengths(config, name, len(stored))
    yield from zip(stored, np.split(value, np.cumsum(lengths)[:-1]), strict=True)


def _interleaved(data: Float32, heads: int) -> Float32:
    """Rotary pairs (i, i + half) of each head -> rows (0, 1), (2, 3), ..."""
    pairs = data.reshape(heads, 2, data.shape[0] // heads // 2, *data.shape[1:])
    return pairs.swapaxes(1, 2).reshape(data.shape)
