"""Masks: which weights of a matrix to keep, by magnitude or by what they do to the output.

Unstructured and 2:4 masks are for study and for export: the engine's planes store a zero like any
other value, so on CPUs they bring no speed (`MaskReport.speed` says so). Pure numpy; it must not
know models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onesec.core.errors import InvalidRequest

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def magnitude_scores(weight: Float32) -> Float32:
    """|w|, float32 [rows, cols]."""
    return np.abs(weight)


def wanda_scores(weight: Float32, second_moment: Float32) -> Float32:
    """|w|·sqrt(E[x²]) (Wanda, 2306.11695): weight [rows, cols], E[x²] of each input [cols].

    Raises InvalidRequest where the shapes differ.
    """
    if second_moment.shape != weight.shape[1:]:
        raise InvalidRequest(
            f"{second_moment.shape} second moments for a matrix of {weight.shape[1]} columns."
        )
    return np.abs(weight) * np.sqrt(second_moment)


def keep_best(scores: Float32, sparsity: float) -> Mask:
    """True where a weight stays: in each row all but the `sparsity` share of least score.

    Of equal scores the later columns go. Raises InvalidRequest unless 0 <= sparsity < 1.

    >>> keep_best(np.array([[3.0, 1.0, 2.0, 0.5]], np.float32), 0.5).tolist()
    [[True, False, True, False]]
    """
    if not 0.0 <= sparsity < 1.0:
        raise InvalidRequest(f"sparsity is {sparsity!r}; it must lie in [0, 1).")
    keep = scores.shape[1] - int(sparsity * scores.shape[1])
    return _best(scores, keep)


def keep_2_of_4(scores: Float32) -> Mask:
    """True where a weight stays: in each row the two of greatest score in every four columns.

    Raises InvalidRequest where the columns are no multiple of four.

    >>> keep_2_of_4(np.array([[3.0, 1.0, 2.0, 0.5]], np.float32)).tolist()
    [[True, False, True, False]]
    """
    rows, cols = scores.shape
    if cols % 4:
        raise InvalidRequest(f"{cols} columns are no multiple of four.")
    return _best(scores.reshape(-1, 4), 2).reshape(rows, cols)


def _best(scores: Float32, keep: int) -> Mask:
    order = np.argsort(-scores, axis=1, kind="stable")
    mask = np.zeros(scores.shape, dtype=np.bool_)
    np.put_along_axis(mask, order[:, :keep], True, axis=1)
    return mask


@dataclass(frozen=True, slots=True)
class MaskReport:
    """What a mask costs: the share of zeros, and the output's relative error in root mean square
    for independent inputs of these second moments."""

    sparsity: float
    output_error: float
    speed: str = "none on CPUs: planes store a zero like any other value"


def report(weight: Float32, mask: Mask, second_moment: Float32 | None = None) -> MaskReport:
    """What the mask does to a matrix [rows, cols]; without second moments, inputs are alike.

    >>> report(np.ones((1, 4), np.float32), np.array([[True, True, True, False]])).output_error
    0.5
    """
    moment = np.ones(weight.shape[1]) if second_moment is None else second_moment
    lost = float((np.where(mask, 0.0, weight).astype(np.float64) ** 2 @ moment).sum())
    whole = float((weight.astype(np.float64) ** 2 @ moment).sum())
    return MaskReport(float(1.0 - mask.mean()), float(np.sqrt(lost / whole)) if whole else 0.0)
