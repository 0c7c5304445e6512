"""Calibration: whether a LengthModel's quantiles hold on answers that it has not seen.

It must not know where the answers come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from onesec.core.cues import Cues

from .length import LengthModel


class Answered(NamedTuple):
    """One answer: what was known before, its tokens, and whether it ended by itself."""

    cues: Cues
    tokens: int
    ended: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How one quantile held. Lengths are whole numbers, so a quantile q is right where
    `below` <= q <= `covered`, within what chance allows.

    covered  share of the answers that are no longer than predicted
    below    share of those that are shorter
    pinball  the quantile's mean loss in tokens: q for each token too few, 1 - q for each too many
    """

    quantile: float
    covered: float
    below: float
    pinball: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Coverage of each quantile over `answers` answers, and their mean log loss in nats."""

    answers: int
    log_loss: float
    coverage: tuple[Coverage, ...]


def calibration(
    model: LengthModel,
    answers: Iterable[Answered],
    *,
    quantiles: Sequence[float] = (0.05, 0.5, 0.8, 0.95),
    learn: bool = False,
) -> Calibration:
    """Hold a model's quantiles against answers, one after the other; with `learn` each is observed
    once it was predicted. Answers that were stopped early are learned only: their length is not
    known. Raises ValueError where no answer is left.

    >>> model = LengthModel()
    >>> seen = calibration(model, [Answered(Cues(), 40)] * 300, quantiles=(0.95,), learn=True)
    >>> seen.answers, seen.coverage[0].covered > 0.9
    (300, True)
    """
    count, loss = 0, 0.0
    sums = [[0, 0, 0.0] for _ in quantiles]
    for cues, tokens, ended in answers:
        if ended:
            count += 1
            loss += model.log_loss(tokens, cues=cues)
            for quantile, row in zip(quantiles, sums, strict=True):
                predicted = model.quantile(quantile, cues=cues)
                row[0] += tokens <= predicted
                row[1] += tokens < predicted
                miss = tokens - predicted
                row[2] += quantile * miss if miss > 0 else (quantile - 1.0) * miss
        if learn:
            model.observe(tokens, ended=ended, cues=cues)
    if not count:
        raise ValueError("there is no answer that ended by itself")
    return Calibration(
        answers=count,
        log_loss=loss / count,
        coverage=tuple(
            Coverage(
                quantile=quantile,
                covered=covered / count,
                below=below / count,
                pinball=pinball / count,
            )
            for quantile, (covered, below, pinball) in zip(quantiles, sums, strict=True)
        ),
    )
