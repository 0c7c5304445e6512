"""Linear: one matrix in the engine's planes, outside a model: y = W x + b at 4, 8 or 16 bits.

It must not know what the values mean, or anything of time.
"""

from __future__ import annotations

import os

import numpy as np

import onesec._native as _native
from onesec.core.errors import InvalidRequest

from .base import Float32Array

WIDTHS = (4, 8, 16)


class Linear:
    """A matrix [rows, cols] and a bias [rows], finite, held at each of `WIDTHS`: 4 and 8 bits as
    planes, rounded to nearest (native/planes.h); 16 as half floats. One thread; one owner calls it.

    Raises InvalidRequest where the shapes differ, or a value is not finite: weights at 16 bits,
    biases at 32.

    >>> one = Linear(np.array([[1.0, -0.5]], np.float32), np.array([3.0], np.float32))
    >>> one(np.array([[2.0, 4.0]], np.float32), 16).tolist()
    [[3.0]]
    """

    def __init__(self, weight: Float32Array, bias: Float32Array) -> None:
        if weight.ndim != 2 or not weight.size or bias.shape != weight.shape[:1]:
            raise InvalidRequest(
                f"a matrix of shape {weight.shape} and a bias of shape {bias.shape} are not "
                "[rows, cols] and [rows]."
            )
        with np.errstate(over="ignore"):
            half = np.ascontiguousarray(weight, dtype=np.float16)
            bias = np.ascontiguousarray(bias, dtype=np.float32)
        if not (np.isfinite(half).all() and np.isfinite(bias).all()):
            raise InvalidRequest(
                "a weight is not finite as a half float, or a bias as a float.",
                hint="Scale the columns so that no weight exceeds 65504.",
            )
        self.rows, self.cols = weight.shape
        self._half = half
        self._native = _native.Linear(
            np.ascontiguousarray(weight, dtype=np.float32),
            half,
            bias,
            os.environ.get("ONESEC_ISA", ""),
        )

    def __call__(self, x: Float32Array, width: int) -> Float32Array:
        """x float32 [n, cols] → float32 [n, rows]. Widths 4 and 8 round x to int8 in groups of 32,
        as a decode step does. Raises InvalidRequest for another width or shape."""
        self._check(width)
        if x.ndim != 2 or x.shape[1] != self.cols:
            raise InvalidRequest(f"inputs of shape {x.shape} do not meet {self.cols} columns.")
        rows = np.ascontiguousarray(x, dtype=np.float32)
        return self._native.product(rows, width)[:, : self.rows]

    def weight(self, width: int) -> Float32Array:
        """float32 [rows, cols]: the values that a width stands for. Raises InvalidRequest."""
        self._check(width)
        return self._half.astype(np.float32) if width == 16 else self._native.unpack(width)

    def weight_bytes(self, width: int) -> int:
        """Bytes of weights that a product reads, padding included. Raises InvalidRequest."""
        self._check(width)
        return self._native.bytes(width)

    @staticmethod
    def _check(width: int) -> None:
        if width not in WIDTHS:
            raise InvalidRequest(f"a width of {width!r} bits is none of {WIDTHS}.")
