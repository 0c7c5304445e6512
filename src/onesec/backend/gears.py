"""Gears of a backend: which it has, in which order, and what each makes of a matrix.

It must not know devices or kernels.
"""

from __future__ import annotations

from collections.abc import Callable

from onesec.core.errors import InvalidRequest, UnknownGear
from onesec.core.gear import UNIFORM, Gear


def check_asked(*, planes: bool, reference: bool, artifact: bool) -> None:
    """Refuse to load no width at all (InvalidRequest), or of an artifact the 16-bit one, which it
    does not hold (UnknownGear)."""
    if not (planes or reference):
        raise InvalidRequest("a backend needs planes or the 16-bit reference.")
    if reference and artifact:
        raise UnknownGear(
            "16",
            ("4", "8"),
            hint="An artifact holds no 16-bit weights: use the checkpoint it was packed from.",
        )


class GearSet:
    """The gears of one loaded model: "4" and "8" where there are planes, an artifact's mixed ones,
    "16" where the checkpoint's own weights are kept."""

    def __init__(self, *, planes: bool, reference: bool, tied: bool) -> None:
        self._tied = tied
        self._known = ((0, 4, 8) if planes else ()) + ((16,) if reference else ())
        self.gears: tuple[Gear, ...] = tuple(UNIFORM[w] for w in self._known if w)

    def order(self, mixed: tuple[Gear, ...], bytes_per_token: Callable[[Gear], int]) -> None:
        """Take the mixed gears in. The cheapest first, since a step reads its gear's bytes; the
        reference last."""
        of_planes = (*(g for g in self.gears if g.width < 16), *mixed)
        reference = tuple(g for g in self.gears if g.width == 16)
        self.gears = (*sorted(of_planes, key=bytes_per_token), *reference)

    def width(self, gear: Gear, name: str) -> int:
        """Bits that `gear` gives to the matrix `name`. Raises UnknownGear, InvalidRequest."""
        width = gear.width_of("head" if name == "embed" and self._tied else name)
        if width not in self._known:
            raise UnknownGear(gear.name, tuple(g.name for g in self.gears))
        if width == 0 and name in ("embed", "head"):
            raise InvalidRequest(f"gear {gear.name!r}: {name} cannot have width 0.")
        return width
