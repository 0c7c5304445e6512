"""Masks against sorting by hand, and their reports against the outputs themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.compress.masks import (
    keep_2_of_4,
    keep_best,
    magnitude_scores,
    report,
    wanda_scores,
)
from onesec.core.errors import InvalidRequest


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 40), st.floats(0.0, 0.99))
def test_the_least_scores_of_each_row_go(seed: int, rows: int, cols: int, sparsity: float) -> None:
    scores = np.random.default_rng(seed).random((rows, cols)).astype(np.float32)
    mask = keep_best(scores, sparsity)
    for row, kept in zip(scores, mask, strict=True):
        assert kept.sum() == cols - int(sparsity * cols)
        assert not kept.any() or kept.all() or row[kept].min() >= row[~kept].max()


def test_of_equal_scores_the_later_ones_go() -> None:
    assert keep_best(np.ones((1, 4), np.float32), 0.5).tolist() == [[True, True, False, False]]


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 8))
def test_two_of_every_four_stay(seed: int, rows: int, fours: int) -> None:
    weight = np.random.default_rng(seed).normal(size=(rows, 4 * fours)).astype(np.float32)
    mask = keep_2_of_4(magnitude_scores(weight))
    assert (mask.reshape(-1, 4).sum(axis=1) == 2).all()
    kept = np.sort(np.abs(weight.reshape(-1, 4)), axis=1)[:, 2:]
    found = np.abs(weight.reshape(-1, 4)[mask.reshape(-1, 4)]).reshape(-1, 2)
    np.testing.assert_array_equal(np.sort(found, axis=1), kept)


def test_inputs_that_matter_keep_their_weights() -> None:
    """Wanda loses less of the output than magnitude where inputs differ in size."""
    rng = np.random.default_rng(3)
    weight = rng.normal(size=(32, 64)).astype(np.float32)
    size = np.exp(rng.normal(size=64)).astype(np.float32)
    inputs = rng.normal(size=(20_000, 64)) * size
    moment = (size**2).astype(np.float32)
    errors = {}
    for name, scores in (
        ("magnitude", magnitude_scores(weight)),
        ("wanda", wanda_scores(weight, moment)),
    ):
        mask = keep_best(scores, 0.5)
        exact, pruned = inputs @ weight.T, inputs @ np.where(mask, weight, 0.0).T
        measured = np.sqrt(((exact - pruned) ** 2).mean() / (exact**2).mean())
        found = report(weight, mask, moment)
        assert found.sparsity == 0.5
        assert found.output_error == pytest.approx(measured, rel=0.05)
        errors[name] = measured
    assert errors["wanda"] < 0.8 * errors["magnitude"]


def test_wrong_shapes_and_shares_are_refused() -> None:
    weight = np.ones((2, 6), np.float32)
    with pytest.raises(InvalidRequest, match="6 columns"):
        keep_2_of_4(weight)
    with pytest.raises(InvalidRequest, match="6 columns"):
        wanda_scores(weight, np.ones(5, np.float32))
    for sparsity in (-0.1, 1.0, float("nan")):
        with pytest.raises(InvalidRequest, match="sparsity"):
            keep_best(weight, sparsity)
    assert report(np.zeros((1, 4), np.float32), keep_2_of_4(np.zeros((1, 4)))).output_error == 0.0
