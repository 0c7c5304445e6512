"""What the quantised forms of Hugging Face folders share: packed words, groups, and their source.

It must not know a single form's names or rules (gptq.py, awq.py, compressed.py), nor files.
Whatever the form, weight[i, j] = (code[i, j] - zero[i, g(j)]) * scale[i, g(j)], in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onesec.core.errors import CorruptFile
from onesec.model.binding import TensorSource
from onesec.model.jsonfile import Fields
from onesec.model.tensor import FLOAT_DTYPES, Tensor

Float32 = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Index = npt.NDArray[np.int64]
MAX_GROUP = 1 << 24
WORD_BITS = 32
_CHUNK_WEIGHTS = 1 << 22  # decoded at a time: temporaries stay in tens of megabytes


def unpack(words: npt.NDArray[Any], bits: int) -> Bytes:
    """Codes of 4 or 8 bits, uint8 [..., n * 32 / bits], of little-endian int32 [..., n], in which
    the lowest bits come first.

    >>> unpack(np.array([0x76543210], "<i4"), 4)
    array([0, 1, 2, 3, 4, 5, 6, 7], dtype=uint8)
    """
    data = np.ascontiguousarray(words).view(np.uint8)
    if bits == 8:
        return data
    codes = np.empty((*data.shape, 2), dtype=np.uint8)
    codes[..., 0], codes[..., 1] = data & 15, data >> 4
    return codes.reshape(*data.shape[:-1], -1)


def group_size(fields: Fields) -> int:
    """A config's group_size, 128 where it says none; -1: one group for all inputs."""
    size = fields.integer("group_size", 128, low=-1, high=MAX_GROUP)
    if size == 0:
        fields.fail("group_size", "is 0; -1 (one group) or more is needed")
    return size


def group_index(cols: int, size: int) -> Index:
    """int64 [cols]: the group of each column, where groups of `size` follow one another."""
    return np.arange(cols, dtype=np.int64) // size


def dequantize(
    shape: tuple[int, int],
    codes: Callable[[int, int], npt.NDArray[Any]],
    scales: Float32,
    zeros: Float32,
    index: Index,
) -> Float32:
    """float32 [rows, cols] of a matrix.

    `codes(begin, end)` gives the codes of those rows, [end - begin, cols], of any real dtype; it is
    asked for rows in multiples of 8 from 0 on. `scales` and `zeros` are [rows, groups]; `index`
    [cols] is each column's group, below `groups`. Values too large become infinite, unannounced.
    """
    rows, cols = shape
    values = np.empty(shape, dtype=np.float32)
    step = max(_CHUNK_WEIGHTS // max(cols, 1) // 8 * 8, 8)
    with np.errstate(all="ignore"):
        for begin in range(0, rows, step):
            end = min(begin + step, rows)
            part = values[begin:end]
            part[...] = codes(begin, end)
            part -= zeros[begin:end, index]
            part *= scales[begin:end, index]
    return values


@dataclass(frozen=True, slots=True)
class QuantizedMatrix:
    """A matrix stored as `parts`; `decode` gives it as float32 of `shape`, [out, in].

    `dtype` is the float dtype of the scales: the one that the model was meant to compute in.
    """

    shape: tuple[int, int]
    dtype: str
    parts: tuple[str, ...]
    decode: Callable[[], Float32]


class Module:
    """The stored tensors of one module (a name without its last part), looked up and checked."""

    def __init__(self, source: TensorSource, path: Path, name: str) -> None:
        self._source = source
        self._path = path
        self._names = source.names()
        self.name = name

    def fail(self, detail: str) -> CorruptFile:
        """A CorruptFile about this module, to be raised."""
        return CorruptFile(
            self._path,
            f"{self.name[-80:]}: {detail}",
            hint="quantization_config and the weights do not belong together, or are damaged.",
        )

    def has(self, part: str) -> bool:
        """Whether the module has a tensor of that name."""
        return f"{self.name}.{part}" in self._names

    def dtype(self, part: str) -> str:
        """The dtype of a part that must be there."""
        return self._source.dtype(self._stored(part))

    def shape(self, part: str) -> tuple[int, ...]:
        """The shape of a part that must be there."""
        return self._source.shape(self._stored(part))

    def dims(self, part: str, *, dtypes: tuple[str, ...]) -> tuple[int, int]:
        """The shape of a part that must be there with two dimensions, in one of the dtypes."""
        shape = self._checked(part, dtypes)
        if len(shape) != 2:
            raise self.fail(f"{part} has {len(shape)} dimensions, not 2")
        return shape[0], shape[1]

    def expect(self, part: str, shape: tuple[int, ...], *, dtypes: tuple[str, ...]) -> str:
        """The dtype of a part that must be there with that shape, in one of the dtypes."""
        real = self._checked(part, dtypes)
        if real != shape:
            raise self.fail(f"{part} has the shape {list(real)}; {list(shape)} is needed"[:200])
        return self.dtype(part)

    def scales(self, part: str, shape: tuple[int, ...]) -> str:
        """expect() for scales: f32, f16 or bf16."""
        return self.expect(part, shape, dtypes=FLOAT_DTYPES)

    def _stored(self, part: str) -> str:
        if not self.has(part):
            raise self.fail(f"{part} is missing")
        return f"{self.name}.{part}"

    def _checked(self, part: str, dtypes: tuple[str, ...]) -> tuple[int, ...]:
        if self.dtype(part) not in dtypes:
            raise self.fail(f"{part} is {self.dtype(part)}, not one of {', '.join(dtypes)}")
        return self.shape(part)

    def read(self, part: str) -> Tensor:
        """The stored tensor of a part that is there."""
        return self._source.read(f"{self.name}.{part}")

    def group_of(self, part: str, groups: int) -> Index:
        """int64 [cols]: a stored table of each column's group. CorruptFile if one is beyond."""
        table: Index = self.read(part).data.astype(np.int64)
        if table.size and not 0 <= table.min() <= table.max() < groups:
            raise self.fail(
                f"{part} names groups from {table.min()} to {table.max()}; there are {groups}"
            )
        return table

    def matrix(
        self,
        shape: tuple[int, int],
        dtype: str,
        parts: Iterable[str],
        decode: Callable[[], Float32],
    ) -> QuantizedMatrix:
        """The matrix that was found; `parts` that the module has not are left out."""
        stored = tuple(f"{self.name}.{part}" for part in parts if self.has(part))
        return QuantizedMatrix(shape, dtype, stored, decode)


def modules_with(source: TensorSource, path: Path, part: str) -> Iterator[Module]:
    """The modules that have a tensor of that name."""
    for stored in sorted(source.names()):
        if stored.endswith(f".{part}"):
            yield Module(source, path, stored.removesuffix(f".{part}"))


class QuantizedSource:
    """A TensorSource in which quantised matrices are plain ones, `module.weight`, decoded when
    they are read, one at a time. `hidden` are stored tensors that are not shown."""

    def __init__(
        self,
        source: TensorSource,
        path: Path,
        matrices: dict[str, QuantizedMatrix],
        hidden: Collection[str] = (),
    ) -> None:
        self._source = source
        self._matrices = {f"{module}.weight": matrix for module, matrix in matrices.items()}
        parts = {part for matrix in matrices.values() for part in matrix.parts}
        self._plain = set(source.names()) - parts - set(hidden)
        twice = sorted(self._plain & self._matrices.keys())
        if twice:
            raise CorruptFile(path, f"{twice[0][:80]!r} is there both plain and quantised")

    def names(self) -> Collection[str]:
        """Names of plain tensors and of quantised matrices."""
        return self._plain | self._matrices.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape, outermost first."""
        matrix = self._matrices.get(name)
        return matrix.shape if matrix else self._source.shape(name)

    def dtype(self, name: str) -> str:
        """The stored dtype's tag; of a quantised matrix that of its scales."""
        matrix = self._matrices.get(name)
        return matrix.dtype if matrix else self._source.dtype(name)

    def read(self, name: str) -> Tensor:
        """A view of the file; a quantised matrix decoded to a new float32 array."""
        matrix = self._matrices.get(name)
        if matrix is None:
            return self._source.read(name)
        return Tensor(name, "f32", matrix.shape, matrix.decode())

    def release(self, name: str) -> None:
        """Drop the resident pages of a tensor, or of all that a matrix is decoded from."""
        matrix = self._matrices.get(name)
        for stored in matrix.parts if matrix else (name,):
            self._source.release(stored)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors as stored."""
        return self._source.nbytes

    def close(self) -> None:
        """Close the source."""
        self._source.close()
