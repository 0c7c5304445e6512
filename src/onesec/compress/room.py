"""Room: which matrices keep their second plane where an artifact may take only so many bytes.

Pure functions of sizes and losses; they must not know files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onesec.model.config import ModelConfig
from onesec.model.planes import packed_names, packed_shape, plane_bytes

# The longest reports, of 23 gears, take 34 KB and 2.4 KB a matrix (tests/compress/test_room.py).
_REPORTS = 48 << 10
_A_MATRIX = 2560


def report_bytes(matrices: int) -> int:
    """Bytes kept for gears.json, the recipe, the reports and the header of so many matrices."""
    return _REPORTS + _A_MATRIX * matrices


@dataclass(frozen=True, slots=True)
class Room:
    """What an artifact takes: `least_bytes` with `hi` alone, and `lo_bytes` of each matrix."""

    least_bytes: int
    lo_bytes: Mapping[str, int]

    def wide(self, losses: Mapping[str, float], size_bytes: int) -> frozenset[str]:
        """The matrices that keep their second plane within `size_bytes`: those whose 4 bits lose
        most for each byte of it, as long as they fit. `losses` are those at 4 bits; a matrix that
        it does not name (an embedding with a head of its own) comes last.

        >>> sorted(Room(100, {"a": 50, "b": 10, "c": 20}).wide({"a": 1.0, "b": 1.0, "c": 0.1}, 160))
        ['a', 'b']
        """
        left = size_bytes - self.least_bytes
        kept = set()
        for name in sorted(self.lo_bytes, key=lambda n: -losses.get(n, 0.0) / self.lo_bytes[n]):
            if self.lo_bytes[name] <= left:
                left -= self.lo_bytes[name]
                kept.add(name)
        return frozenset(kept)


def room_of(config: ModelConfig, beside_bytes: int) -> Room:
    """The room of a model that has `beside_bytes` of vectors and of files beside the weights.

    >>> from onesec.model.shapes import shape
    >>> room_of(shape("smollm2-135m"), 4 << 20).least_bytes // 1_000_000
    81
    """
    names = packed_names(config)
    least = report_bytes(len(names)) + beside_bytes
    lo_bytes = {}
    for name in names:
        rows, cols = packed_shape(config, name)
        hi, lo_bytes[name] = plane_bytes(rows, cols)
        least += hi + 4 * rows
    return Room(least, lo_bytes)
