"""Data: the tutorial's two problems: five points on a line, and one large enough to compress.

It must not know models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Problem:
    """x [rows, features] and y [rows, targets] to learn from, and others to test on."""

    x: Float64
    y: Float64
    test_x: Float64
    test_y: Float64


def line() -> tuple[Float64, Float64]:
    """x = 1…5 and y = 2…10, both [5, 1]."""
    x = np.arange(1.0, 6.0)[:, None]
    return x, 2.0 * x


def sparse_problem(
    *,
    features: int = 256,
    targets: int = 128,
    rows: int = 1024,
    share: float = 0.1,
    seed: int = 0,
) -> Problem:
    """Targets of which each depends on a `share` of the features, with noise half as large (in
    standard deviation) as what the features explain; as many test rows as rows.

    Features differ in size: their standard deviations are spread evenly over [0.5, 1.5].
    """
    rng = np.random.default_rng(seed)
    sizes = np.linspace(0.5, 1.5, features)
    rng.shuffle(sizes)
    weight = np.where(
        rng.random((targets, features)) < share, rng.normal(size=(targets, features)), 0.0
    )
    bias = rng.normal(size=targets)
    signal = np.sqrt((weight**2 @ sizes**2).mean())

    def draw() -> tuple[Float64, Float64]:
        x = rng.normal(size=(rows, features)) * sizes
        noise = rng.normal(size=(rows, targets)) * (0.5 * signal)
        return x, x @ weight.T + bias + noise

    return Problem(*draw(), *draw())
