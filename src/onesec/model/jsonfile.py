"""JSON from files that nobody vouches for: capped in bytes, depth and values, no duplicate keys.

It must not know what the values mean. Fields reads them key by key, with types and ranges.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from onesec.core.errors import CorruptFile

from .tensor import read_small

MAX_CONFIG_BYTES = 1 << 20
MAX_DEPTH = 32
# Counted before anything is parsed, they bound time and memory: a tenth of a second for 16 MB.
MAX_SEPARATORS = 1 << 17
MAX_ESCAPES = 1 << 16
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


_NOT_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")


def _depth(raw: bytes) -> int:
    codes = np.frombuffer(raw.translate(None, _NOT_BRACKETS), dtype=np.uint8)
    opening = (codes == 0x5B) | (codes == 0x7B)
    return int(np.cumsum(np.where(opening, np.int32(1), np.int32(-1))).max(initial=0))


def parse_json(path: Path, raw: bytes, *, what: str, max_depth: int = MAX_DEPTH) -> Any:
    """The value that `raw` (UTF-8) spells. Raises CorruptFile: not JSON, too deep, too many values,
    duplicate keys, NaN or infinity, a number that no float holds."""
    for count, limit, thing in (
        (raw.count(b",") + raw.count(b":"), MAX_SEPARATORS, "separators"),
        (raw.count(b"\\"), MAX_ESCAPES, "escapes"),
    ):
        if count > limit:
            raise CorruptFile(path, f"{what} has {count} {thing}; at most {limit} are read")
    # Brackets inside strings count only when the cheap count is over the limit.
    if _depth(raw) > max_depth:
        depth = _depth(_STRING.sub(b"", raw))
        if depth > max_depth:
            raise CorruptFile(path, f"{what} nests {depth} levels; at most {max_depth} are read")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise CorruptFile(path, f"{what} has the key {twice[:80]!r} twice")
        return found

    def constant(word: str) -> NoReturn:
        raise CorruptFile(path, f"{what} holds {word}, which is not JSON")

    def number(digits: str) -> float:
        value = float(digits)
        if math.isinf(value):  # it would be written again as Infinity
            raise CorruptFile(path, f"{what} holds {digits[:40]}, which no number can hold")
        return value

    try:
        return json.loads(
            raw.decode(), object_pairs_hook=unique, parse_constant=constant, parse_float=number
        )
    except (ValueError, RecursionError) as exc:
        raise CorruptFile(path, f"{what} is not JSON ({str(exc)[:120]})") from None


def read_json(path: Path, *, max_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """The object in a JSON file. Raises ModelNotFound where there is none, else CorruptFile."""
    value = parse_json(path, read_small(path, max_bytes), what=path.name)
    if not isinstance(value, dict):
        raise CorruptFile(path, f"{path.name} holds a {type(value).__name__}, not an object")
    return value


class Fields:
    """Key by key reading of a mapping from a file: each value is typed and ranged, or CorruptFile.

    A missing key and null are the same: the default, or an error where there is none.

    >>> Fields(Path("config.json"), {"n": 4}).integer("n", low=1, high=8)
    4
    """

    def __init__(self, path: Path, values: Mapping[str, Any], *, prefix: str = "") -> None:
        self.path = path
        self.values = values
        self._prefix = prefix

    def has(self, key: str) -> bool:
        """True if the key is there and not null."""
        return self.values.get(self._prefix + key) is not None

    def fail(self, key: str, detail: str) -> NoReturn:
        """Raise CorruptFile about a key."""
        raise CorruptFile(
            self.path, f"{self._prefix + key} {detail}", hint="Check this file's values."
        )

    def raw(self, key: str) -> Any:
        """The value as it is; None where there is none."""
        return self.values.get(self._prefix + key)

    def integer(self, key: str, default: int | None = None, *, low: int, high: int) -> int:
        """An integer in [low, high]; whole floats pass."""
        value = self.raw(key)
        if value is None:
            if default is None:
                self.fail(key, "is missing")
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(key, f"is {str(value)[:40]!r}, not an integer")
        if not low <= value <= high:
            self.fail(key, f"is {str(value)[:40]}; it must lie in [{low}, {high}]")
        return value

    def number(self, key: str, default: float | None = None, *, low: float, high: float) -> float:
        """A finite number in [low, high]."""
        value = self.raw(key)
        if value is None:
            if default is None:
                self.fail(key, "is missing")
            return default
        return self._number(key, value, low, high)

    def _number(self, key: str, value: Any, low: float, high: float) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.fail(key, f"is {str(value)[:40]!r}, not a number")
        if not low <= value <= high or not math.isfinite(value):
            self.fail(key, f"is {str(value)[:40]}; it must lie in [{low:g}, {high:g}]")
        return float(value)

    def numbers(self, key: str, *, count: int, low: float, high: float) -> tuple[float, ...]:
        """A list of exactly `count` numbers in [low, high]."""
        value = self.raw(key)
        if not isinstance(value, list) or len(value) != count:
            size = len(value) if isinstance(value, list) else type(value).__name__
            self.fail(key, f"must be a list of {count} numbers, not {size}")
        return tuple(self._number(key, item, low, high) for item in value)

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fail(key, f"is {str(value)[:40]!r}, not true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A string of at most 256 characters."""
        value = self.raw(key)
        if value is None:
            if default is None:
                self.fail(key, "is missing")
            return default
        if not isinstance(value, str) or len(value) > 256:
            self.fail(key, f"is {str(value)[:40]!r}, not a short string")
        return value

    def texts(self, key: str, *, count: int) -> tuple[str, ...]:
        """A list of exactly `count` strings."""
        value = self.raw(key)
        if not isinstance(value, list) or len(value) != count:
            size = len(value) if isinstance(value, list) else type(value).__name__
            self.fail(key, f"must be a list of {count} strings, not {size}")
        if not all(isinstance(item, str) for item in value):
            self.fail(key, "must hold strings only")
        return tuple(value)

    def ids(self, key: str, *, below: int) -> tuple[int, ...]:
        """A token id or a list of at most 64; ids that no token has are left out."""
        value = self.raw(key)
        items = value if isinstance(value, list) else [] if value is None else [value]
        if len(items) > 64:
            self.fail(key, f"lists {len(items)} token ids; at most 64 are read")
        for item in items:
            if isinstance(item, bool) or not isinstance(item, int):
                self.fail(key, f"is {str(item)[:40]!r}, not a token id")
        return tuple(dict.fromkeys(item for item in items if 0 <= item < below))

    def inner(self, key: str) -> Fields | None:
        """The object under a key as Fields; None where there is none."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.fail(key, f"is a {type(value).__name__}, not an object")
        return Fields(self.path, value, prefix="")

    def __contains__(self, key: str) -> bool:
        """True if the key is there, null included."""
        return self._prefix + key in self.values
