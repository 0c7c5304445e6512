"""Gears of a backend: which it has, in which order, and what each makes of a matrix.

It must not know devices or kernels.
"""

from __future__ import annotations

from collections.abc import Callable

from onesec.core.errors import InvalidRequest, UnknownGear
from onesec.core.gear import UNIFORM, Gear, name_in_gears
from onesec.model.artifact import Artifact
from onesec.model.config import ModelConfig
from onesec.model.planes import packed_names, packed_shape


def gears_of(artifact: Artifact) -> tuple[Gear, ...]:
    """All gears that an artifact holds, the cheapest first, without loading it.

    >>> [gear.name for gear in gears_of(artifact)]  # doctest: +SKIP
    ['4', 'g1', '8']
    """
    uniform = (UNIFORM[4],) if artifact.narrow else (UNIFORM[4], UNIFORM[8])
    return tuple(
        sorted((*uniform, *artifact.ladder), key=lambda gear: _read_bits(gear, artifact.config))
    )


def _read_bits(gear: Gear, config: ModelConfig) -> int:
    """Bits of weights that a step reads, those of 4 twice that fine activations meet twice."""
    tied, bits = config.tie_embeddings, 0
    for name in packed_names(config):
        if name == "embed" and not tied:  # a step reads one row of it
            continue
        rows, cols = packed_shape(config, name)
        known = name_in_gears(name, tied=tied)
        again = 4 if gear.activations_of(known) == 16 else 0
        bits += rows * cols * (gear.width_of(known) + again)
    return bits


def check_asked(
    *, context_tokens: int, planes: bool, reference: bool, artifact: Artifact | None = None
) -> None:
    """Refuse to load for a cache of no token or no width at all (InvalidRequest), or of an artifact
    the 16-bit one, which it does not hold (UnknownGear)."""
    if type(context_tokens) is not int or context_tokens < 1:
        raise InvalidRequest(f"context_tokens is {context_tokens!r}; it must be at least 1.")
    if not (planes or reference):
        raise InvalidRequest("a backend needs planes or the 16-bit reference.")
    if reference and artifact is not None:
        raise UnknownGear(
            "16",
            tuple(gear.name for gear in gears_of(artifact)),
            hint="An artifact holds no 16-bit weights: use the checkpoint it was packed from.",
        )


class GearSet:
    """The gears of one loaded model: "4" and "8" where there are planes, an artifact's mixed ones,
    "16" where the checkpoint's own weights are kept. `fine`: activations may have 16 bits. `narrow`
    matrices have no 8 bits, and where there are some there is no gear "8"."""

    def __init__(
        self,
        *,
        planes: bool,
        reference: bool,
        tied: bool,
        fine: bool,
        narrow: frozenset[str] = frozenset(),
    ) -> None:
        self._tied, self._fine, self._narrow = tied, fine, narrow
        self._known = ((0, 4, 8) if planes else ()) + ((16,) if reference else ())
        self.gears: tuple[Gear, ...] = tuple(
            UNIFORM[w] for w in self._known if w and not (w == 8 and narrow)
        )

    def order(self, mixed: tuple[Gear, ...], cost: Callable[[Gear], int]) -> None:
        """Take the mixed gears in, but for those that want finer activations than there are. The
        cheapest first, the reference last."""
        able = (gear for gear in mixed if self._fine or not _wants_fine(gear))
        of_planes = (*(g for g in self.gears if g.width < 16), *able)
        reference = tuple(g for g in self.gears if g.width == 16)
        self.gears = (*sorted(of_planes, key=cost), *reference)

    def width(self, gear: Gear, name: str) -> int:
        """Bits that `gear` gives to the matrix `name`. Raises UnknownGear, InvalidRequest."""
        width = gear.width_of(name_in_gears(name, tied=self._tied))
        able = width in self._known and not (width == 8 and name in self._narrow)
        if not able or (_wants_fine(gear) and not self._fine):
            raise UnknownGear(gear.name, tuple(g.name for g in self.gears))
        if width == 0 and name in ("embed", "head"):
            raise InvalidRequest(f"gear {gear.name!r}: {name} cannot have width 0.")
        return width

    def activations(self, gear: Gear, name: str) -> int:
        """Bits in which `gear` rounds what the matrix `name` reads."""
        return gear.activations_of(name_in_gears(name, tied=self._tied))


def _wants_fine(gear: Gear) -> bool:
    return gear.activations == 16 or bool(gear.fine)
