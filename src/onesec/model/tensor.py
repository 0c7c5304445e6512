"""Tensor and the mapped file it is a view of: bytes with a name, a dtype and a shape.

It must not know file formats, models, or what a weight means.
"""

from __future__ import annotations

import mmap
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onesec.core.errors import CorruptFile, ModelNotFound

# dtype tag -> how numpy holds it. numpy has no bfloat16 and no 8-bit floats: those are their bits.
DTYPES: dict[str, np.dtype[Any]] = {
    "f64": np.dtype("<f8"),
    "f32": np.dtype("<f4"),
    "f16": np.dtype("<f2"),
    "bf16": np.dtype("<u2"),
    "f8_e4m3": np.dtype("u1"),
    "f8_e5m2": np.dtype("u1"),
    "i64": np.dtype("<i8"),
    "i32": np.dtype("<i4"),
    "i16": np.dtype("<i2"),
    "i8": np.dtype("i1"),
    "u64": np.dtype("<u8"),
    "u32": np.dtype("<u4"),
    "u16": np.dtype("<u2"),
    "u8": np.dtype("u1"),
    "bool": np.dtype("?"),
}
FLOAT_DTYPES = ("f32", "f16", "bf16")
_EXPONENT: dict[str, np.unsignedinteger[Any]] = {  # bits that are all ones in NaN and infinity
    "f32": np.uint32(0x7F800000),
    "f16": np.uint16(0x7C00),
    "bf16": np.uint16(0x7F80),
}
_CHUNK = 1 << 22  # elements examined at a time, so that a check never copies a whole matrix


def bfloat16_bits(values: npt.ArrayLike) -> npt.NDArray[np.uint16]:
    """The nearest bf16 of float32 values, halves to even, as bits of the same shape.

    >>> hex(int(bfloat16_bits(1.0)))
    '0x3f80'
    """
    bits = np.asarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named array. `data` has `shape`; bf16 and the 8-bit floats are held as unsigned bits.

    >>> Tensor("x", "bf16", (2,), np.array([0x3F80, 0x4000], np.uint16)).float32()
    array([1., 2.], dtype=float32)
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: npt.NDArray[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of the data."""
        return int(self.data.nbytes)

    def float32(self) -> npt.NDArray[np.float32]:
        """The values as float32, of the same shape: the data itself where it is float32 already.

        Raises ValueError for a dtype that is not f32, f16 or bf16.
        """
        if self.dtype == "bf16":
            bits = self.data.astype(np.uint32)
            bits <<= 16
            return bits.view(np.float32)
        if self.dtype not in FLOAT_DTYPES:
            raise ValueError(f"{self.name} is {self.dtype}, not one of {FLOAT_DTYPES}")
        return self.data.astype(np.float32, copy=False)


def count_not_finite(tensor: Tensor) -> int:
    """How many values of a float tensor are NaN or infinite (exponent bits all ones)."""
    if not tensor.data.flags.c_contiguous:
        return sum(
            count_not_finite(Tensor(tensor.name, tensor.dtype, row.shape, row))
            for row in tensor.data
        )
    mask = _EXPONENT[tensor.dtype]
    bits = tensor.data.reshape(-1).view(mask.dtype)
    return sum(
        int(np.count_nonzero((bits[at : at + _CHUNK] & mask) == mask))
        for at in range(0, bits.size, _CHUNK)
    )


def check_finite(path: Path, tensor: Tensor) -> None:
    """Raise CorruptFile, naming the tensor and the count, if a value is NaN or infinite."""
    bad = count_not_finite(tensor)
    if bad:
        raise CorruptFile(
            path, f"tensor {tensor.name!r} has {bad} of {tensor.data.size} values not finite"
        )


class MappedFile:
    """A regular file mapped read-only. Views of `data` keep the map alive after close().

    Raises ModelNotFound where nothing is there, CorruptFile where it is empty, not a regular file
    or not readable. A file that another process shortens while it is mapped ends this process
    (SIGBUS): replace model files by renaming, never in place.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            info = path.stat()
            if not stat.S_ISREG(info.st_mode):
                raise CorruptFile(path, "this is not a regular file", hint="Name a model file.")
            if info.st_size == 0:
                raise CorruptFile(path, "the file has 0 bytes")
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise ModelNotFound(f"There is no file {path}.", hint="Check the path.") from None
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "the path holds a NUL"
            raise CorruptFile(
                path, f"the file cannot be read ({reason})", hint="Check its permissions."
            ) from None
        self.data: npt.NDArray[np.uint8] = np.frombuffer(self._map, dtype=np.uint8)
        self.size = len(self.data)

    def touch(self) -> None:
        """Read a byte of every page, so that whoever reads next need not stop at each.

        One call without the interpreter lock: another thread can work meanwhile.
        """
        np.bitwise_or.reduce(self.data[:: mmap.PAGESIZE])

    def release(self, array: npt.NDArray[Any]) -> None:
        """Let the system drop the resident pages behind `array`, a view of this map.

        The view stays valid: its pages come back from the file when they are touched.
        """
        start = array.__array_interface__["data"][0] - self.data.__array_interface__["data"][0]
        if not 0 <= start < self.size or array.nbytes == 0:
            return
        first = start - start % mmap.PAGESIZE
        end = min(start + array.nbytes, self.size)
        self._map.madvise(mmap.MADV_DONTNEED, first, end - first)

    def close(self) -> None:
        """Drop the map, now or when the last view of it goes."""
        self.data = np.empty(0, dtype=np.uint8)
        with suppress(BufferError):  # views are alive; the map goes with them
            self._map.close()


def in_file(array: npt.NDArray[Any]) -> bool:
    """Whether the array is a view of a MappedFile."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, memoryview) and isinstance(base.obj, mmap.mmap)


def read_small(path: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes.

    Raises ModelNotFound where nothing is there, CorruptFile where it is larger or not readable.
    """
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise CorruptFile(path, "this is not a regular file")
        if info.st_size > limit:
            raise CorruptFile(path, f"the file has {info.st_size} bytes; at most {limit} are read")
        with path.open("rb") as file:
            return file.read(limit)
    except FileNotFoundError:
        raise ModelNotFound(f"There is no file {path}.", hint="Check the path.") from None
    except (OSError, ValueError) as exc:
        reason = os.strerror(exc.errno or 0) if isinstance(exc, OSError) else "the path holds a NUL"
        raise CorruptFile(
            path, f"the file cannot be read ({reason})", hint="Check its permissions."
        ) from None
