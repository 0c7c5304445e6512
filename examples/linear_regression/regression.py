"""Regression: y = θ₀ + Σ θᵢxᵢ, found by gradient descent and, to check it, in closed form.

Several targets over the same features are several regressions side by side, a row of θ each. NumPy
only; it must not know how a model is compressed or served.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onesec.core.errors import InvalidRequest

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Regression:
    """weight θ₁… [targets, features] and bias θ₀ [targets]."""

    weight: Float64
    bias: Float64

    def predict(self, x: Float64) -> Float64:
        """ŷ [rows, targets] of x [rows, features]."""
        return x @ self.weight.T + self.bias


@dataclass(frozen=True, slots=True)
class Training:
    """What descent found, and the loss ½Σ(y − ŷ)² before each of its steps and after the last."""

    model: Regression
    losses: tuple[float, ...]


def descend(
    x: Float64, y: Float64, *, tolerance: float = 1e-9, most_steps: int = 20_000
) -> Training:
    """Gradient descent on ½Σ(yᵢ − ŷᵢ)² from θ = 0; x [rows, features], y [rows, targets].

    The step is 1 / L with L the largest eigenvalue of Σ xxᵀ, the most that the gradient can change
    along a unit of θ: no step then raises the loss. It ends where no entry of the gradient exceeds
    `tolerance` times the largest one at the start.
    Raises InvalidRequest for shapes that do not match, values that are not finite, and where
    `most_steps` are not enough.

    >>> x = np.array([[1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> found = descend(x, 2.0 * x).model
    >>> round(float(found.weight[0, 0]), 6), abs(round(float(found.bias[0]), 6))
    (2.0, 0.0)
    """
    _check(x, y)
    if most_steps < 1:
        raise InvalidRequest(f"most_steps is {most_steps}; it must be at least 1.")
    ones = _with_ones(x)
    step = 1.0 / np.linalg.norm(ones, 2) ** 2
    theta = np.zeros((ones.shape[1], y.shape[1]))
    losses: list[float] = []
    sizes: list[float] = []  # of the gradient: its largest entry
    for _ in range(most_steps):
        error = y - ones @ theta
        losses.append(0.5 * float((error**2).sum()))
        gradient = -ones.T @ error  # −Σ (yᵢ − ŷᵢ) xᵢⱼ
        sizes.append(float(np.abs(gradient).max()))
        if sizes[-1] <= tolerance * sizes[0]:
            return Training(_regression(theta), tuple(losses))
        theta -= step * gradient
    raise InvalidRequest(
        f"after {most_steps} steps the gradient is {sizes[-1] / sizes[0]:.1e} of the first one; "
        f"{tolerance:.1e} was asked for.",
        hint="Bring the features to one scale, allow more steps, or a larger tolerance.",
    )


def closed_form(x: Float64, y: Float64) -> Regression:
    """The least-squares solution itself: of the normal equations XᵀXθ = Xᵀy, by lstsq, which needs
    no XᵀX and loses half as many digits. Raises InvalidRequest as `descend` does."""
    _check(x, y)
    return _regression(np.asarray(np.linalg.lstsq(_with_ones(x), y, rcond=None)[0], np.float64))


def rmse(y: Float64, predicted: npt.NDArray[np.floating]) -> float:
    """The root of the mean of (y − ŷ)²."""
    return float(np.sqrt(np.mean((y - predicted) ** 2)))


def r2(y: Float64, predicted: npt.NDArray[np.floating]) -> float:
    """1 − Σ(y − ŷ)² / Σ(y − ȳ)², over all targets: 1 is perfect, 0 as good as the mean."""
    return 1.0 - float(((y - predicted) ** 2).sum() / ((y - y.mean(axis=0)) ** 2).sum())


def _with_ones(x: Float64) -> Float64:
    return np.concatenate([np.ones((len(x), 1)), x], axis=1)


def _regression(theta: Float64) -> Regression:
    return Regression(weight=theta[1:].T.copy(), bias=theta[0].copy())


def _check(x: Float64, y: Float64) -> None:
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or not len(x) or not y.shape[1]:
        raise InvalidRequest(
            f"x of shape {x.shape} and y of shape {y.shape} are not [rows, features] and "
            "[rows, targets]."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InvalidRequest("x or y holds a value that is not finite.")
