"""Serving: a regression's widths as versions of one callable, the gears' names on them.

Rows are answered one by one, as tokens are: a row reads all weights. It must not know how a model
was learned.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from onesec.backend.linear import WIDTHS, Linear
from onesec.core.gear import UNIFORM

Float32 = npt.NDArray[np.float32]
GEARS = tuple(UNIFORM[width].name for width in WIDTHS)  # the narrowest first


def by_width(model: Linear) -> dict[str, Callable[[Float32], Float32]]:
    """The model's widths as ways to predict, under their gears' names, the narrowest first."""
    ways = (partial(model, width=width) for width in WIDTHS)
    return dict(zip(GEARS, ways, strict=True))
