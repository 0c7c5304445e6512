"""Search: which option each part of a model should take, for every amount of time.

A pure function of measured milliseconds and measured losses; it must not know what a part is, nor
how either was measured. Losses of parts are added up: what that misses is measured afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

BINS = 4000  # of the range of time that a model can take


@dataclass(frozen=True, slots=True)
class Option:
    """One way to run a part: its share of a step in ms, the loss that it brings (below zero where
    it takes some away), its widths, and the matrices that read activations of 16 bits."""

    ms: float
    loss: float
    widths: Mapping[str, int] = field(default_factory=dict)
    fine: frozenset[str] = frozenset()


def frontier(
    parts: Sequence[Sequence[Option]], budgets_ms: Sequence[float]
) -> list[tuple[Option, ...]]:
    """For each budget, the option of every part that together lose least within it.

    A multiple-choice knapsack solved exactly on a grid of BINS times: each part takes one of its
    options. A budget below the quickest choice gives that choice. Cost: options x BINS.

    >>> slow, quick = Option(2.0, 0.0, {"a": 8}), Option(1.0, 0.5, {"a": 4})
    >>> [choice[0].widths["a"] for choice in frontier([[slow, quick]], [1.0, 2.0])]
    [4, 8]
    """
    least = [min(option.ms for option in options) for options in parts]
    most = [max(option.ms for option in options) for options in parts]
    bin_ms = max((sum(most) - sum(least)) / BINS, 1e-12)
    bins = BINS + len(parts)  # each part's time is rounded, half a bin up at most
    best = np.zeros(bins + 1)  # least loss with that many bins above the quickest choice
    choices: list[npt.NDArray[np.int64]] = []
    costs: list[list[int]] = []
    for options, quickest in zip(parts, least, strict=True):
        costs.append([round((option.ms - quickest) / bin_ms) for option in options])
        table = np.full((len(options), bins + 1), np.inf)
        for i, (option, cost) in enumerate(zip(options, costs[-1], strict=True)):
            table[i, cost:] = best[: bins + 1 - cost] + option.loss
        choices.append(table.argmin(axis=0))
        best = table.min(axis=0)
    found = []
    for budget_ms in budgets_ms:
        left = min(max(round((budget_ms - sum(least)) / bin_ms), 0), bins)
        chosen: list[Option] = []
        for part in reversed(range(len(parts))):
            index = int(choices[part][left])
            chosen.append(parts[part][index])
            left -= costs[part][index]
        found.append(tuple(reversed(chosen)))
    return found
