"""Cursor: the values of a GGUF file, read from its front, none of them trusted.

It must not know what keys or tensors mean. Numbers are little-endian; strings and arrays begin with
their length as u64.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from onesec.core.errors import CorruptFile

MAX_STRING_BYTES = 1 << 24
MAX_ITEMS = 1 << 21  # values in all arrays together: bounds time and memory
MAX_NESTING = 4

_BOOL, _STRING, _ARRAY = 7, 8, 9
_NUMBERS = {  # value type id -> how struct and numpy spell it
    0: ("<B", "<u1"),
    1: ("<b", "<i1"),
    2: ("<H", "<u2"),
    3: ("<h", "<i2"),
    4: ("<I", "<u4"),
    5: ("<i", "<i4"),
    6: ("<f", "<f4"),
    10: ("<Q", "<u8"),
    11: ("<q", "<i8"),
    12: ("<d", "<f8"),
}


class Cursor:
    """Bounds-checked reading. `at` is the byte that comes next, `items` how many values all arrays
    so far have. Every method raises CorruptFile, naming `what` was read.
    """

    def __init__(self, path: Path, view: memoryview) -> None:
        self.path = path
        self.view = view
        self.at = 0
        self.items = 0

    def need(self, count: int, what: str) -> None:
        left = len(self.view) - self.at
        if count > left:
            raise CorruptFile(
                self.path, f"{what} needs {count} bytes at byte {self.at}; {left} are left"
            )

    def scalar(self, form: str, what: str) -> Any:
        size = struct.calcsize(form)
        self.need(size, what)
        (value,) = struct.unpack_from(form, self.view, self.at)
        self.at += size
        return value

    def text(self, what: str, limit: int) -> str:
        length = self.scalar("<Q", what)
        if length > limit:
            raise CorruptFile(self.path, f"{what} claims {length} bytes; at most {limit} are read")
        self.need(length, what)
        raw = bytes(self.view[self.at : self.at + length])
        self.at += length
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise CorruptFile(
                self.path, f"{what} at byte {self.at - length} is not UTF-8"
            ) from None

    def value(self, kind: int, what: str, depth: int = 0) -> Any:
        if kind == _STRING:
            return self.text(what, MAX_STRING_BYTES)
        if kind == _ARRAY:
            return self.array(what, depth + 1)
        if kind == _BOOL:
            return self.boolean(what)
        if kind not in _NUMBERS:
            raise CorruptFile(self.path, f"{what} has the unknown value type {kind}")
        return self.scalar(_NUMBERS[kind][0], what)

    def boolean(self, what: str) -> bool:
        value = self.scalar("<B", what)
        if value > 1:
            raise CorruptFile(self.path, f"{what} is {value}, neither true nor false")
        return bool(value)

    def array(self, what: str, depth: int) -> list[Any]:
        if depth > MAX_NESTING:
            raise CorruptFile(self.path, f"{what} nests more than {MAX_NESTING} arrays")
        kind, count = self.scalar("<I", what), self.scalar("<Q", what)
        self.items += count
        if self.items > MAX_ITEMS:
            raise CorruptFile(
                self.path, f"{what} brings the arrays to {self.items} values; limit {MAX_ITEMS}"
            )
        if kind in _NUMBERS:
            dtype: np.dtype[Any] = np.dtype(_NUMBERS[kind][1])
            self.need(count * dtype.itemsize, what)
            raw = bytes(self.view[self.at : self.at + count * dtype.itemsize])
            self.at += len(raw)
            return list(np.frombuffer(raw, dtype=dtype).tolist())
        if kind == _STRING:
            return self.texts(count, what)
        return [self.value(kind, what, depth) for _ in range(count)]

    def texts(self, count: int, what: str) -> list[str]:
        """A vocabulary's worth of strings, without a call for each."""
        self.need(8 * count, what)
        view, at, size = self.view, self.at, len(self.view)
        found: list[str] = []
        try:
            for _ in range(count):
                start = at + 8
                at = start + int.from_bytes(view[at:start], "little")
                if start > size or at > size:
                    raise CorruptFile(
                        self.path, f"{what}: string {len(found)} ends at byte {at} of {size}"
                    )
                found.append(str(view[start:at], "utf-8"))
        except UnicodeDecodeError:
            raise CorruptFile(self.path, f"{what}: string {len(found)} is not UTF-8") from None
        self.at = at
        return found
