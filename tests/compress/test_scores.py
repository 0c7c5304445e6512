"""Intervals against reference values, and pairs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.compress.scores import average, paired, share, wilson
from onesec.core.errors import InvalidRequest


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    # Newcombe (1998), table I, method 3: the examples with their score intervals.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_of_published_examples(right: int, count: int, low: float, high: float) -> None:
    assert wilson(right, count) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 300), st.integers(0, 300))
def test_wilson_holds_the_share_and_mirrors(right: int, wrong: int) -> None:
    count = right + wrong
    low, high = wilson(right, count)
    if count:
        assert 0.0 <= low <= right / count <= high <= 1.0
    assert wilson(wrong, count) == pytest.approx((1.0 - high, 1.0 - low))


def test_a_share_counts_ones() -> None:
    found = share([1.0, 0.0, 1.0, 1.0])
    assert (found.count, found.value) == (4, 0.75)
    assert (found.low, found.high) == wilson(3, 4)


def test_an_average_has_the_interval_of_its_spread() -> None:
    found = average([0.2, 0.4, 0.6])
    half = 1.959964 * 0.2 / math.sqrt(3)  # the sample's standard deviation is 0.2
    assert (found.value, found.low, found.high) == pytest.approx((0.4, 0.4 - half, 0.4 + half))


def test_pairs_count_what_turned() -> None:
    found = paired([1.0, 1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0, 0.0])
    assert (found.lost, found.gained) == (2, 1)
    assert found.value == pytest.approx(-0.2)
    assert found.se == pytest.approx(math.sqrt(0.7 / 5))  # the differences' variance is 0.7
    with pytest.raises(InvalidRequest, match="cannot be paired"):
        paired([1.0], [])
