"""Reliability: whether tokens are right as often as a gear is sure of them, and the curve between.

A token is right where the text has it. Texts are read with the true tokens before each one, through
the decode arithmetic; the curve is fitted on some of the texts and judged on the others. It must
not know files, tokenizers or pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onesec.backend.base import Backend, Batch, BatchRow
from onesec.core.errors import InvalidRequest
from onesec.core.gear import Gear
from onesec.explain.confidence import Curve, log_odds

from .evaluate import CHUNK_TOKENS, Float64Array, check_tokens, log_softmax

BINS = 10
LEAST_TOKENS = 200  # in each half, or nothing can be said
_NEWTON_STEPS = 50
_PRIOR_SD = 0.5  # of the curve about the line: rules where there are few tokens, as far below 0.3
_PRIOR = np.array([1.0, 1.0, 0.0])  # the line: a token at its word
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Text:
    """Token ids: `given` is read, each token of `told` is predicted from all before it."""

    given: Sequence[int]
    told: Sequence[int]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a gear would have said, a value for each token told: the likeliest token's log
    probability (nats), whether it was the right one, and the number of its text."""

    logprobs: Float64Array
    right: BoolArray
    text: npt.NDArray[np.int64]

    def part(self, chosen: BoolArray) -> Answers:
        """The tokens of the chosen texts."""
        kept = chosen[self.text]
        return Answers(self.logprobs[kept], self.right[kept], self.text[kept])


def listen(
    backend: Backend,
    gear: Gear,
    texts: Sequence[Text],
    *,
    progress: Callable[[float], None] | None = None,
) -> Answers:
    """What a gear says of each token of the texts. Whatever the cache holds is overwritten.

    Raises InvalidRequest for a text that is empty, longer than the cache, or has a token without a
    row.

    >>> listen(cpu, gear4, [Text([1, 5, 9], [7, 2])]).logprobs.shape  # doctest: +SKIP
    (2,)
    """
    room = min(backend.context_length, backend.num_blocks * backend.block_size)
    logprobs, right, number = [], [], []
    for i, text in enumerate(texts):
        ids = np.array([*text.given, *text.told], dtype=np.int32)
        if not text.given or not text.told or len(ids) > room:
            raise InvalidRequest(
                f"Text {i} has {len(text.given)} tokens to read and {len(text.told)} to predict; "
                f"at least one of each is needed, and at most {room} in all."
            )
        check_tokens([*text.given, *text.told], backend.vocab_size)
        table = np.arange(-(-len(ids) // backend.block_size), dtype=np.int32)
        start = len(text.given) - 1  # the last one given predicts the first one told
        if start:
            backend.forward(Batch(gear, [BatchRow(ids[:start], 0, table)], exact=True))
        for first in range(start, len(ids) - 1, CHUNK_TOKENS):
            stop = min(first + CHUNK_TOKENS, len(ids) - 1)
            row = BatchRow(ids[first:stop], first, table)
            told = log_softmax(backend.logits(Batch(gear, [row], exact=True)))
            likeliest = told.argmax(axis=-1)
            logprobs.append(told[np.arange(len(told)), likeliest])
            right.append(likeliest == ids[first + 1 : stop + 1])
            number.append(np.full(len(told), i))
        if progress is not None:
            progress((i + 1) / len(texts))
    if not texts:
        raise InvalidRequest("There is no text to listen to.")
    return Answers(np.concatenate(logprobs), np.concatenate(right), np.concatenate(number))


def fit(answers: Answers) -> Curve:
    """The curve of the greatest likelihood: logistic regression on ln p and -ln(1 - p), by Newton's
    method; a slope that would be negative is 0, so that the curve never falls."""
    pairs = np.array([log_odds(value) for value in answers.logprobs])
    features = np.column_stack([pairs[:, 0], -pairs[:, 1], np.ones(len(pairs))])
    right = answers.right.astype(np.float64)
    kept = [0, 1, 2]
    while True:
        weights = np.zeros(3)
        weights[kept] = _logistic(features[:, kept], right, _PRIOR[kept])
        negative = [i for i in kept if i < 2 and weights[i] < 0.0]
        if not negative:
            return Curve(*(round(float(w), 6) for w in weights))
        kept.remove(min(negative, key=lambda i: weights[i]))


def _logistic(features: Float64Array, right: Float64Array, prior: Float64Array) -> Float64Array:
    """Weights of a logistic regression, normal prior; a step is halved until the loss falls."""
    ridge = 0.5 / _PRIOR_SD**2

    def loss(weights: Float64Array) -> float:
        z = features @ weights
        miss = np.logaddexp(0.0, -z * (2.0 * right - 1.0)).sum()
        return float(miss + ridge * ((weights - prior) ** 2).sum())

    weights = prior.copy()
    best = loss(weights)
    for _ in range(_NEWTON_STEPS):
        p = 0.5 * (1.0 + np.tanh(0.5 * (features @ weights)))
        gradient = features.T @ (p - right) + 2.0 * ridge * (weights - prior)
        curvature = (features * (p * (1.0 - p))[:, None]).T @ features
        step = np.linalg.solve(curvature + 2.0 * ridge * np.eye(len(weights)), gradient)
        size = 1.0
        while (after := loss(weights - size * step)) > best and size > 1e-6:
            size *= 0.5
        if after > best - 1e-9 * abs(best):
            break
        weights, best = weights - size * step, after
    return weights


def bins(confidence: Float64Array, right: BoolArray) -> list[dict[str, Any]]:
    """BINS equal parts of [0, 1], those that are not empty: tokens in it, how sure they were and
    how many were right, on average.

    >>> bins(np.array([0.31, 0.39]), np.array([True, False]))
    [{'low': 0.3, 'tokens': 2, 'sure': 0.35, 'right': 0.5}]
    """
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    found = []
    for place in range(BINS):
        here = places == place
        if here.any():
            found.append(
                {
                    "low": place / BINS,
                    "tokens": int(here.sum()),
                    "sure": round(float(confidence[here].mean()), 6),
                    "right": round(float(right[here].mean()), 6),
                }
            )
    return found


def calibration_error(parts: Sequence[dict[str, Any]]) -> float:
    """Expected calibration error: how far sureness lies from what was right, over the bins, each by
    its tokens (Naeini, Cooper and Hauskrecht, 2015)."""
    total = sum(part["tokens"] for part in parts)
    off = math.fsum(part["tokens"] * abs(part["sure"] - part["right"]) for part in parts)
    return off / float(total)


def judge(answers: Answers, texts: int, *, seed: int = 0) -> dict[str, Any]:
    """Fit on a half of the texts, drawn at random, and judge on the other: the curve, and before
    and after it the bins, the calibration error, and the mean loss (nats a token) of taking a
    confidence at its word.

    Raises InvalidRequest where a half has too few tokens.
    """
    chosen = np.random.default_rng(seed).random(texts) < 0.5
    fitted, held = answers.part(chosen), answers.part(~chosen)
    if min(len(fitted.right), len(held.right)) < LEAST_TOKENS:
        raise InvalidRequest(
            f"{len(fitted.right)} tokens to fit a curve on and {len(held.right)} to judge it on; "
            f"each needs {LEAST_TOKENS} or more.",
            hint="Give more text, or raise --limit.",
        )
    curve = fit(fitted)
    record: dict[str, Any] = {
        "a": curve.a, "b": curve.b, "c": curve.c, "fitted_tokens": len(fitted.right),
        "tokens": len(held.right), "right": round(float(held.right.mean()), 6),
    }  # fmt: skip
    for name, one in (("before", Curve()), ("after", curve)):
        sure = np.array([one(value) for value in held.logprobs])
        parts = bins(sure, held.right)
        of_truth = np.where(held.right, sure, 1.0 - sure)
        record[name] = {
            "ece": round(calibration_error(parts), 6),
            "loss": round(float(-np.log(of_truth).mean()), 6),
            "bins": parts,
        }
    return record
