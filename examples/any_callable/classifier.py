"""Classifier: random features and a ridge regression, in sizes; larger ones look at shifted views.

Cosines of random projections, whose inner products approach a Gaussian kernel (Rahimi and Recht,
2007), then least squares in closed form. NumPy only; it must not know time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .data import CLASSES, SIDE, Float32, Labels

BANDWIDTH = 10.0  # of the kernel, in pixel values: about the distance of two images
RIDGE = 1e-4  # for each row


@dataclass(frozen=True, slots=True)
class Classifier:
    """projection [SIDE², features], phase [features], weight [features, CLASSES]; scores are means
    over the image moved by up to `reach` pixels each way."""

    projection: Float32
    phase: Float32
    weight: Float32
    reach: int

    def __call__(self, x: Float32) -> Float32:
        """Scores [rows, CLASSES] of the images x [rows, SIDE²]: about 1 for the digit, else 0."""
        views = _moved(x, self.reach)
        scores = _features(views, self.projection, self.phase) @ self.weight
        mean: Float32 = scores.reshape(len(x), -1, CLASSES).mean(axis=1)
        return mean


def learn(x: Float32, labels: Labels, *, features: int, reach: int, seed: int = 0) -> Classifier:
    """The ridge solution for one-hot targets."""
    rng = np.random.default_rng(seed)
    projection = (rng.normal(size=(x.shape[1], features)) / BANDWIDTH).astype(np.float32)
    phase = rng.uniform(0.0, 2.0 * np.pi, features).astype(np.float32)
    found = _features(x, projection, phase).astype(np.float64)
    gram = found.T @ found + RIDGE * len(x) * np.eye(features)
    weight = np.linalg.solve(gram, found.T @ np.eye(CLASSES)[labels])
    return Classifier(projection, phase, weight.astype(np.float32), reach)


def learn_all(x: Float32, labels: Labels) -> dict[str, Callable[[Float32], Float32]]:
    """Three versions, the worst and cheapest first."""
    return {
        "small": learn(x, labels, features=128, reach=0),
        "middle": learn(x, labels, features=1024, reach=0),
        "large": learn(x, labels, features=2048, reach=1),
    }


def accuracy(scores: Float32, labels: Labels) -> float:
    """The share of rows whose highest score is the label's."""
    return float((scores.argmax(axis=1) == labels).mean())


def margin(scores: Float32) -> float:
    """How far the best score of one row [1, CLASSES] lies above the second: small where it is
    hard."""
    second, best = np.partition(scores[0], -2)[-2:]
    return float(best - second)


def _features(x: Float32, projection: Float32, phase: Float32) -> Float32:
    found: Float32 = np.cos(x @ projection + phase) * np.float32(np.sqrt(2.0 / len(phase)))
    return found


def _moved(x: Float32, reach: int) -> Float32:
    """[rows · (2 reach + 1)², SIDE²]: each image moved by every step up to `reach`, paper beyond
    its edge."""
    if reach == 0:
        return x
    images = x.reshape(-1, SIDE, SIDE)
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE), axis=(1, 2))
    return windows.reshape(-1, SIDE * SIDE)
