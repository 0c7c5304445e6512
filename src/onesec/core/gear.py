"""Gear: how much of the model a step spends, as a width in bits for each weight matrix.

It must not know what a matrix holds or how fast a gear is.
Matrix names: `layers.{i}.qkv`, `layers.{i}.o`, `layers.{i}.gate_up` (or `layers.{i}.up` where the
FFN has no gate), `layers.{i}.down`, `head` (and `embed`, which follows `head` where they are tied).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

WIDTHS = (0, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Gear:
    """A name, a default width, and the matrices that differ from it.

    Width 0 skips a whole sublayer (attention: `qkv` and `o`; FFN: `gate_up` and `down`); 16 is the
    checkpoint's own dtype and exists only where the source checkpoint is at hand.

    >>> Gear("4", 4).width_of("head")
    4
    >>> Gear("g2", 4, {"head": 8}).width_of("head")
    8
    """

    name: str
    width: int
    widths: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for width in (self.width, *self.widths.values()):
            if width not in WIDTHS:
                raise ValueError(f"gear {self.name!r}: width {width} is not one of {WIDTHS}")
        object.__setattr__(self, "widths", MappingProxyType(dict(self.widths)))

    def width_of(self, matrix: str) -> int:
        """Width in bits that this gear gives to the matrix of that name."""
        return self.widths.get(matrix, self.width)

    def __hash__(self) -> int:
        return hash((self.name, self.width))  # gears are asked for by the thousand a second


UNIFORM = {width: Gear(str(width), width) for width in (4, 8, 16)}
