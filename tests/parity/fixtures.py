"""The golden fixtures as values: which there are, what is expected, and their weights as arrays.

numpy only; it must not know torch, nor what computes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onesec.model.weights import Checkpoint

GOLDEN_DIR = Path(__file__).resolve().parent.parent / "golden"
NAMES: tuple[str, ...] = tuple(json.loads((GOLDEN_DIR / "manifest.json").read_text())["fixtures"])
GREEDY_FROM = 16  # prompt tokens of the greedy answer
SEQUENCE_TOKENS = 80  # the longest sequence of a fixture: a prompt of 16 and 64 that follow
TOLERANCE = 1e-3  # largest logit difference allowed, in standard deviations of the logits


@dataclass(frozen=True)
class Expected:
    """What transformers computed: tokens int32 [n], logits float32 [n, vocab], greedy int32 [m]."""

    tokens: npt.NDArray[np.int32]
    logits: npt.NDArray[np.float32]
    greedy: npt.NDArray[np.int32]

    @property
    def prompt(self) -> npt.NDArray[np.int32]:
        """The tokens that the greedy answer follows."""
        return self.tokens[:GREEDY_FROM]

    @property
    def told(self) -> npt.NDArray[np.int32]:
        """The prompt and its greedy answer, without the last token."""
        return np.concatenate([self.prompt, self.greedy[:-1]])

    def deviation(self, logits: npt.NDArray[np.floating]) -> float:
        """Largest difference from the first len(logits) rows expected, in standard deviations."""
        difference = np.abs(logits - self.logits[: len(logits)]).max()
        return float(difference / self.logits.std())


def expected(name: str) -> Expected:
    """The expected values of a fixture."""
    with np.load(GOLDEN_DIR / name / "expected.npz") as stored:
        return Expected(stored["tokens"], stored["logits"], stored["greedy"])


def weights(checkpoint: Checkpoint) -> dict[str, npt.NDArray[np.float32]]:
    """Every matrix and vector of the checkpoint under its canonical name, float32."""
    arrays = checkpoint.vectors()
    for name in checkpoint.matrix_names():
        arrays[name] = np.concatenate([part.float32() for part in checkpoint.matrix(name)])
    return arrays
