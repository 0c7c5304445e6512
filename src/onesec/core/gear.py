"""Gear: how much of the model a step spends, as widths in bits for each weight matrix.

It must not know what a matrix holds or how fast a gear is.
Matrix names: `layers.{i}.qkv`, `layers.{i}.o`, `layers.{i}.gate_up` (or `layers.{i}.up` where the
FFN has no gate), `layers.{i}.down`, `head` (and `embed`, which follows `head` where they are tied).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

WIDTHS = (0, 4, 8, 16)
ACTIVATIONS = (8, 16)


@dataclass(frozen=True, slots=True)
class Gear:
    """A name, a default width, and the matrices that differ from it.

    Width 0 skips a whole sublayer (attention: `qkv` and `o`; FFN: `gate_up` and `down`); 16 is the
    checkpoint's own dtype and exists only where the source checkpoint is at hand.
    `activations` are the bits, 8 or 16, in which what a matrix reads meets its 4 or 8 bits; `fine`
    names the matrices that read 16 where the others read 8.

    >>> Gear("4", 4).width_of("head")
    4
    >>> Gear("g2", 4, {"head": 8}, fine=frozenset({"head"})).activations_of("head")
    16
    """

    name: str
    width: int
    widths: Mapping[str, int] = field(default_factory=dict)
    activations: int = 8
    fine: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for width in (self.width, *self.widths.values()):
            if width not in WIDTHS:
                raise ValueError(f"gear {self.name!r}: width {width} is not one of {WIDTHS}")
        if self.activations not in ACTIVATIONS:
            raise ValueError(
                f"gear {self.name!r}: activations are {self.activations}, not one of {ACTIVATIONS}"
            )
        object.__setattr__(self, "widths", MappingProxyType(dict(self.widths)))

    def width_of(self, matrix: str) -> int:
        """Width in bits that this gear gives to the matrix of that name."""
        return self.widths.get(matrix, self.width)

    def activations_of(self, matrix: str) -> int:
        """Bits in which this gear rounds what the matrix of that name reads."""
        return 16 if matrix in self.fine else self.activations

    def __hash__(self) -> int:
        return hash((self.name, self.width))  # gears are asked for by the thousand a second


def name_in_gears(stored: str, *, tied: bool) -> str:
    """What gears call a stored matrix: an embedding that is the head too follows "head".

    >>> name_in_gears("embed", tied=True), name_in_gears("embed", tied=False)
    ('head', 'embed')
    """
    return "head" if stored == "embed" and tied else stored


UNIFORM = {width: Gear(str(width), width) for width in (4, 8, 16)}
W8A16 = Gear("w8a16", 8, activations=16)  # what 8 bits of weights can do at best
