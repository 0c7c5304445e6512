"""GGUF files, version 3, written in one pass: complete under their name, or not there at all.

It must not know models or families: keys, tensors and their bytes come as they are to be written.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .gguf_encode import KIND_OF, block_format
from .partfile import PartFile

ALIGNMENT = 32
_U32, _I32, _F32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
_PLAIN = {"f32": (0, 4), "f16": (1, 2)}  # ggml's type id, bytes a weight
_NUMBERS = {np.dtype("<u4"): _U32, np.dtype("<i4"): _I32, np.dtype("<f4"): _F32}


@dataclass(frozen=True, slots=True)
class OutgoingTensor:
    """A tensor to be written: `shape` outermost first, `kind` f32, f16, q8_0, q4_0 or q4_k."""

    name: str
    shape: tuple[int, ...]
    kind: str

    @property
    def type_id(self) -> int:
        """ggml's number of the kind."""
        return _PLAIN[self.kind][0] if self.kind in _PLAIN else KIND_OF[self.kind]

    @property
    def nbytes(self) -> int:
        """Bytes of its data."""
        count = int(np.prod(self.shape, dtype=np.int64))
        if self.kind in _PLAIN:
            return count * _PLAIN[self.kind][1]
        block = block_format(self.kind)
        return count // block.weights * block.nbytes


class GGUFWriter(PartFile):
    """Writes keys and the list of tensors at once, then the tensors' bytes in that order.

    `metadata` values: bool, int (u32), float (f32), str, lists of str, and 1-d arrays of uint32,
    int32 or float32. Raises ValueError for other values, and for tensors out of order or of another
    size than was said; OSError where the disk refuses.

    >>> with GGUFWriter(Path("m.gguf"), {}, [tensor]) as out:  # doctest: +SKIP
    ...     out.add(tensor.name, data)
    """

    def __init__(
        self, path: Path, metadata: Mapping[str, Any], tensors: Sequence[OutgoingTensor]
    ) -> None:
        head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
        head += b"".join(_text(key) + _value(key, value) for key, value in metadata.items())
        at = 0
        for tensor in tensors:
            dims = tensor.shape[::-1]
            head += _text(tensor.name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
            head += struct.pack("<IQ", tensor.type_id, at)
            at += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
        self._waiting = list(reversed(tensors))
        super().__init__(path)
        try:
            self.file.write(head + bytes(-len(head) % ALIGNMENT))
        except BaseException:
            self.discard()
            raise

    def add(self, name: str, data: npt.NDArray[Any]) -> None:
        """The next tensor's bytes, as an array of any dtype and shape."""
        tensor = self._waiting.pop() if self._waiting else None
        if tensor is None or (tensor.name, tensor.nbytes) != (name, data.nbytes):
            raise ValueError(f"{name} of {data.nbytes} bytes was given; {tensor} comes next")
        self.file.write(np.ascontiguousarray(data).reshape(-1).view(np.uint8).data)
        self.file.write(bytes(-data.nbytes % ALIGNMENT))

    def keep(self) -> None:
        """Give the file its name. ValueError where tensors were not given."""
        if self._waiting:
            raise ValueError(f"{len(self._waiting)} tensors were not given")
        super().keep()


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(key: str, value: Any) -> bytes:
    """The type's number and the value's bytes."""
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL, value)
    if isinstance(value, int) and 0 <= value < 1 << 32:
        return struct.pack("<II", _U32, value)
    if isinstance(value, float):
        return struct.pack("<If", _F32, value)
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _text(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        items = b"".join(map(_text, value))
        return struct.pack("<IIQ", _ARRAY, _STRING, len(value)) + items
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype in _NUMBERS:
        kind = _NUMBERS[value.dtype]
        return struct.pack("<IIQ", _ARRAY, kind, len(value)) + value.tobytes()
    raise ValueError(f"{key} is {str(value)[:40]!r}, which is not written")
