"""safetensors: the reader that trusts nothing in the file, and the writer of artifacts.

It must not know models. Format: u64 little-endian header length, that many bytes of JSON
(name -> dtype, shape, data_offsets), then the data, which the tensors tile without gap or overlap.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onesec.core.closing import Closing
from onesec.core.errors import CorruptFile, UnsupportedModel

from .jsonfile import parse_json
from .partfile import PartFile
from .tensor import DTYPES, MappedFile, Tensor

MAX_HEADER_BYTES = 16 << 20
MAX_TENSORS = 1 << 13
MAX_NAME_CHARS = 512
MAX_DIMS = 8
MAX_DEPTH = 4  # the format itself needs three
ALIGNMENT = 64  # bytes, a cache line
ENTRY_BYTES = 256  # header room that the writer sets aside a tensor
_KINDS = {tag.upper(): tag for tag in DTYPES}
_PART_BYTES = ("F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "C64", "F8_E4M3FNUZ", "F8_E5M2FNUZ")


class SafetensorsFile(Closing):
    """An open, checked, mapped file. `tensors` maps each name to a Tensor: a view of the map.

    Raises ModelNotFound, CorruptFile (with the numbers that disagree) or UnsupportedModel (a dtype
    that the format has and this reader has not). Use it as a context manager, or close() it.

    >>> with SafetensorsFile(Path("model.safetensors")) as file:  # doctest: +SKIP
    ...     file.tensors["model.norm.weight"].shape
    """

    def __init__(self, path: Path) -> None:
        self._file = MappedFile(path)
        self.path = path
        self.metadata: dict[str, str] = {}
        self.tensors: dict[str, Tensor] = {}
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        size = self._file.size
        if size < 8:
            raise CorruptFile(self.path, f"the file has {size} bytes; a header needs 8")
        length = int.from_bytes(self._file.data[:8].tobytes(), "little")
        if length > MAX_HEADER_BYTES:
            raise CorruptFile(
                self.path, f"the header claims {length} bytes; at most {MAX_HEADER_BYTES} are read"
            )
        if length > size - 8:
            raise CorruptFile(
                self.path, f"the header claims {length} bytes; the file has {size - 8} after it"
            )
        raw = self._file.data[8 : 8 + length].tobytes()
        if not raw.startswith(b"{"):
            raise CorruptFile(self.path, "the header does not begin with '{'")
        header = parse_json(self.path, raw, what="the header", max_depth=MAX_DEPTH)
        self.metadata = self._metadata(header.pop("__metadata__", {}))
        if len(header) > MAX_TENSORS:
            raise CorruptFile(
                self.path, f"the header lists {len(header)} tensors; at most {MAX_TENSORS} are read"
            )
        data = self._file.data[8 + length :]
        spans = []
        for name, entry in header.items():
            tag, shape, begin, end = self._entry(name, entry, len(data))
            array = data[begin:end].view(DTYPES[tag]).reshape(shape)
            self.tensors[name] = Tensor(name, tag, shape, array)
            spans.append((begin, end, name))
        self._check_tiling(sorted(spans), len(data))

    def _metadata(self, value: Any) -> dict[str, str]:
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise CorruptFile(self.path, "__metadata__ is not an object of strings")
        return value

    def _entry(self, name: str, entry: Any, size: int) -> tuple[str, tuple[int, ...], int, int]:
        where = f"tensor {name[:80]!r}"
        if not 0 < len(name) <= MAX_NAME_CHARS:
            raise CorruptFile(
                self.path, f"{where}: a name has 1 to {MAX_NAME_CHARS} characters, not {len(name)}"
            )
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise CorruptFile(self.path, f"{where} needs exactly dtype, shape and data_offsets")
        tag = entry["dtype"]
        if not isinstance(tag, str) or tag not in _KINDS:
            if tag in _PART_BYTES:
                raise UnsupportedModel(
                    f"{self.path}: {where} has the dtype {tag}, which is not read.",
                    hint="Use a checkpoint in F32, F16 or BF16.",
                )
            raise CorruptFile(self.path, f"{where} has the unknown dtype {str(tag)[:20]!r}")
        shape = self._integers(entry["shape"], where, "shape")
        if len(shape) > MAX_DIMS:
            raise CorruptFile(self.path, f"{where} has {len(shape)} dimensions; at most {MAX_DIMS}")
        offsets = self._integers(entry["data_offsets"], where, "data_offsets")
        if len(offsets) != 2 or not offsets[0] <= offsets[1] <= size:
            raise CorruptFile(
                self.path, f"{where} lies at {str(list(offsets))[:60]} of {size} data bytes"
            )
        need = math.prod(shape) * DTYPES[_KINDS[tag]].itemsize
        if need != offsets[1] - offsets[0]:
            raise CorruptFile(
                self.path,
                f"{where} has {offsets[1] - offsets[0]} bytes; "
                f"{tag} {str(list(shape))[:80]} needs {need if need < 1 << 64 else 'over 2^64'}",
            )
        return _KINDS[tag], shape, offsets[0], offsets[1]

    def _integers(self, value: Any, where: str, key: str) -> tuple[int, ...]:
        if not isinstance(value, list) or not all(
            isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 63 for v in value
        ):
            raise CorruptFile(self.path, f"{where}: {key} is not a list of sizes")
        return tuple(value)

    def _check_tiling(self, spans: list[tuple[int, int, str]], size: int) -> None:
        at = 0
        for begin, end, name in spans:
            if begin != at:
                what = "overlaps the tensor before it" if begin < at else "leaves a gap"
                raise CorruptFile(
                    self.path, f"tensor {name[:80]!r} begins at {begin}, not {at}: it {what}"
                )
            at = end
        if at != size:
            raise CorruptFile(self.path, f"the tensors end at {at} of {size} data bytes")

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def touch(self) -> None:
        """Map the file's pages; see MappedFile."""
        self._file.touch()

    def release(self, name: str) -> None:
        """Drop the resident pages of a tensor; they come back when touched."""
        self._file.release(self.tensors[name].data)

    def close(self) -> None:
        """Forget the tensors; the map goes with the last view of it."""
        self.tensors = {}
        self._file.close()


class SafetensorsWriter(PartFile):
    """Writes tensors one by one; the file appears under its name only when it is complete.

    Each tensor begins on a 64-byte boundary as long as sizes are multiples of 64 bytes: the others
    are held in memory and written last, widest dtype first. `max_tensors` sets the header room.

    >>> with SafetensorsWriter(Path("x.safetensors"), max_tensors=1) as out:  # doctest: +SKIP
    ...     out.add("a", np.zeros(16, np.float32))
    """

    def __init__(
        self, path: Path, *, max_tensors: int, metadata: Mapping[str, str] | None = None
    ) -> None:
        self._metadata = dict(metadata or {})
        room = ENTRY_BYTES * (max_tensors + 1) + len(json.dumps(self._metadata))
        self._header_bytes = -(-(8 + room) // ALIGNMENT) * ALIGNMENT - 8
        self._entries: dict[str, dict[str, Any]] = {}
        self._late: list[tuple[str, str, npt.NDArray[Any]]] = []
        self._at = 0
        super().__init__(path)
        self.file.seek(8 + self._header_bytes)

    def add(self, name: str, array: npt.NDArray[Any], dtype: str | None = None) -> None:
        """Append a tensor. `dtype` is its tag where numpy has no such type (bf16 held as uint16).

        Raises ValueError for a name given twice, a dtype that the format has not, or a full header.
        """
        tag = dtype or next((t for t, d in DTYPES.items() if d == array.dtype), "")
        if tag not in DTYPES or DTYPES[tag].itemsize != array.dtype.itemsize:
            raise ValueError(f"{name}: {array.dtype} cannot be written as {dtype or array.dtype}")
        if dtype is None and tag in ("bf16", "f8_e4m3"):  # plain unsigned integers share their bits
            tag = {"bf16": "u16", "f8_e4m3": "u8"}[tag]
        if name in self._entries or any(name == late for late, _, _ in self._late):
            raise ValueError(f"the tensor {name!r} was given twice")
        if array.nbytes % ALIGNMENT:
            self._late.append((name, tag, array.copy()))
        else:
            self._write(name, tag, array)

    def _write(self, name: str, tag: str, array: npt.NDArray[Any]) -> None:
        self.file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        self._entries[name] = {
            "dtype": tag.upper(),
            "shape": list(array.shape),
            "data_offsets": [self._at, self._at + array.nbytes],
        }
        self._at += array.nbytes

    def keep(self) -> None:
        """Write what was held back, then the header; sync; give the file its name."""
        for name, tag, array in sorted(self._late, key=lambda late: -late[2].itemsize):
            self._write(name, tag, array)
        self._late = []
        header: dict[str, Any] = {"__metadata__": self._metadata} if self._metadata else {}
        raw = json.dumps({**header, **self._entries}, separators=(",", ":")).encode()
        if len(raw) > self._header_bytes:
            raise ValueError(f"the header needs {len(raw)} bytes; {self._header_bytes} are there")
        self.file.seek(0)
        self.file.write(self._header_bytes.to_bytes(8, "little"))
        self.file.write(raw.ljust(self._header_bytes))
        super().keep()
