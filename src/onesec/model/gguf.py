"""GGUF: the reader of files that trusts nothing in them.

It must not know models or families. Format (v3, little-endian; v2 has the same form): magic,
version, counts, key-value pairs, tensor infos, then the data at general.alignment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onesec.core.closing import Closing
from onesec.core.errors import CorruptFile, UnsupportedModel

from .gguf_cursor import Cursor
from .gguf_quants import BLOCK_FORMATS, dequantize
from .tensor import DTYPES, MappedFile, Tensor

MAX_TENSORS = 1 << 16
MAX_KEYS = 1 << 14
MAX_KEY_BYTES = 1 << 16
MAX_NAME_BYTES = 64
MAX_ALIGNMENT = 1 << 16

_PLAIN = {0: "f32", 1: "f16", 30: "bf16"}
_OTHER = {  # ggml's types that are known by name alone
    9: "Q8_1",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    21: "IQ3_S",
    22: "IQ2_S",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    29: "IQ1_M",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
    40: "NVFP4",
}


@dataclass(frozen=True, slots=True)
class GGUFTensor:
    """Where a tensor lies. `kind` is the ggml type id; `shape` is outermost first."""

    name: str
    kind: int
    shape: tuple[int, ...]
    begin: int
    nbytes: int


def _names_read() -> list[str]:
    return [name.upper() for name in (*_PLAIN.values(), *(b.name for b in BLOCK_FORMATS.values()))]


class GGUFFile(Closing):
    """An open, checked, mapped GGUF file: `metadata` (plain values) and `infos` by tensor name.

    Raises ModelNotFound, CorruptFile (with the numbers), UnsupportedModel (version, endianness, a
    block format that is not read). A context manager. Implements weights.TensorSource.
    """

    def __init__(self, path: Path) -> None:
        self._file = MappedFile(path)
        self.path = path
        self.metadata: dict[str, Any] = {}
        self.infos: dict[str, GGUFTensor] = {}
        try:
            view = self._file.data.data
            try:
                self._read(Cursor(path, view))
            finally:
                view.release()
        except BaseException:
            self.close()
            raise

    def _read(self, cursor: Cursor) -> None:
        cursor.need(24, "the header")
        if bytes(cursor.view[:4]) != b"GGUF":
            raise CorruptFile(
                self.path, f"the file begins with {bytes(cursor.view[:4])!r}, not GGUF"
            )
        cursor.at = 4
        version = cursor.scalar("<I", "the version")
        if version not in (2, 3):
            raise UnsupportedModel(
                f"{self.path}: GGUF version {version} is not supported"
                f"{' (big-endian)' if version & 0xFFFF == 0 else ''}.",
                hint="Convert the checkpoint again to GGUF version 3, little-endian.",
            )
        tensors, keys = cursor.scalar("<Q", "the count"), cursor.scalar("<Q", "the count")
        for count, limit, what in ((tensors, MAX_TENSORS, "tensors"), (keys, MAX_KEYS, "keys")):
            if count > limit:
                raise CorruptFile(
                    self.path, f"the header claims {count} {what}; at most {limit} are read"
                )
        for _ in range(keys):
            key = cursor.text("a key", MAX_KEY_BYTES - 1)
            if key in self.metadata:
                raise CorruptFile(self.path, f"the key {key[:80]!r} is there twice")
            self.metadata[key] = cursor.value(cursor.scalar("<I", key[:80]), key[:80])
        infos = [self._info(cursor) for _ in range(tensors)]
        alignment = self.metadata.get("general.alignment", 32)
        if (
            not isinstance(alignment, int)
            or isinstance(alignment, bool)
            or not 1 <= alignment <= MAX_ALIGNMENT
            or alignment & (alignment - 1)
        ):
            raise CorruptFile(
                self.path, f"general.alignment is {str(alignment)[:40]}, not a power of two"
            )
        self._place(infos, -(-cursor.at // alignment) * alignment, alignment)

    def _info(self, cursor: Cursor) -> GGUFTensor:
        name = cursor.text("a tensor's name", MAX_NAME_BYTES)
        where = f"tensor {name!r}"
        if not name:
            raise CorruptFile(self.path, "a tensor has no name")
        dims = cursor.scalar("<I", where)
        if not 1 <= dims <= 4:
            raise CorruptFile(self.path, f"{where} has {dims} dimensions; 1 to 4 are read")
        shape = tuple(cursor.scalar("<Q", where) for _ in range(dims))[::-1]
        kind, begin = cursor.scalar("<I", where), cursor.scalar("<Q", where)
        count = math.prod(shape)
        if not 0 < count < 1 << 48:
            raise CorruptFile(self.path, f"{where} has the shape {list(shape)}")
        if kind in _PLAIN:
            nbytes = count * DTYPES[_PLAIN[kind]].itemsize
        elif kind in BLOCK_FORMATS:
            block = BLOCK_FORMATS[kind]
            if shape[-1] % block.weights:
                raise CorruptFile(
                    self.path,
                    f"{where} has rows of {shape[-1]}; {block.name} needs multiples of "
                    f"{block.weights}",
                )
            nbytes = count // block.weights * block.nbytes
        else:
            raise UnsupportedModel(
                f"{self.path}: {where} has the type {_OTHER.get(kind, kind)}, which is not read.",
                hint=f"Read are {', '.join(_names_read())}.",
            )
        return GGUFTensor(name, kind, shape, begin, nbytes)

    def _place(self, infos: list[GGUFTensor], start: int, alignment: int) -> None:
        """Check that the tensors tile the data, each aligned, and make offsets absolute."""
        at = 0
        for info in sorted(infos, key=lambda info: (info.begin, info.nbytes)):
            if info.begin != at:
                raise CorruptFile(
                    self.path,
                    f"tensor {info.name!r} begins at {info.begin} of the data; the one before it "
                    f"ends at {at} (aligned to {alignment})",
                )
            if start + info.begin + info.nbytes > self._file.size:
                raise CorruptFile(
                    self.path,
                    f"tensor {info.name!r} ends at byte {start + info.begin + info.nbytes}; "
                    f"the file has {self._file.size}",
                )
            if info.name in self.infos:
                raise CorruptFile(self.path, f"the tensor {info.name!r} is there twice")
            self.infos[info.name] = GGUFTensor(
                info.name, info.kind, info.shape, start + info.begin, info.nbytes
            )
            at = -(-(at + info.nbytes) // alignment) * alignment

    def names(self) -> list[str]:
        """Stored names."""
        return list(self.infos)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape, outermost first."""
        return self.infos[name].shape

    def dtype(self, name: str) -> str:
        """The stored dtype's tag: f32, f16, bf16, or a block format such as q4_k."""
        kind = self.infos[name].kind
        return _PLAIN[kind] if kind in _PLAIN else BLOCK_FORMATS[kind].name

    def read(self, name: str) -> Tensor:
        """f32, f16, bf16: a view of the file; block formats: decoded to a new float32 array."""
        info = self.infos[name]
        raw = self._file.data[info.begin : info.begin + info.nbytes]
        if info.kind in _PLAIN:
            tag = _PLAIN[info.kind]
            return Tensor(name, tag, info.shape, raw.view(DTYPES[tag]).reshape(info.shape))
        values = dequantize(BLOCK_FORMATS[info.kind], raw)
        return Tensor(name, "f32", info.shape, values.reshape(info.shape))

    def release(self, name: str) -> None:
        """Drop the tensor's resident pages."""
        info = self.infos[name]
        self._file.release(self._file.data[info.begin : info.begin + info.nbytes])

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors as stored."""
        return sum(info.nbytes for info in self.infos.values())

    def close(self) -> None:
        """Forget the tensors; the map goes with the last view of it."""
        self.infos = {}
        self._file.close()
