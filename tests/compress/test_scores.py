"""Intervals against reference values, and pairs."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.compress.scores import average, flips, mcnemar, paired, share, wilson
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
    values = [1.0, 1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 1.0, 0.0]
    turned, found = flips(*values), paired(*values)
    assert (turned.lost, turned.gained, turned.flip_rate, turned.p) == (2, 1, 0.6, 1.0)
    assert found.value == pytest.approx(-0.2)
    assert found.se == pytest.approx(math.sqrt(0.7 / 5))  # the differences' variance is 0.7
    for compare in (paired, flips):
        with pytest.raises(InvalidRequest, match="cannot be paired"):
            compare([1.0], [])


@given(st.integers(0, 6), st.integers(0, 6))
def test_p_is_the_share_of_coin_throws_as_uneven(lost: int, gained: int) -> None:
    throws = list(itertools.product((0, 1), repeat=lost + gained))
    uneven = abs(lost - gained)
    as_uneven = sum(abs(2 * sum(throw) - len(throw)) >= uneven for throw in throws)
    assert mcnemar(lost, gained) == pytest.approx(as_uneven / len(throws))


def test_p_of_many_flips_follows_the_normal_law() -> None:
    # 1000 ± 95 flips: with the correction for continuity z = (190 - 1) / sqrt(2000) = 4.226.
    assert mcnemar(905, 1095) == pytest.approx(math.erfc(189 / math.sqrt(2 * 2000)), rel=0.02)
    assert mcnemar(905, 1095) == mcnemar(1095, 905)


def test_a_partly_right_reply_is_not_right() -> None:
    assert flips([1.0, 0.5], [0.5, 1.0]).lost == flips([1.0, 0.5], [0.5, 1.0]).gained == 1
    assert math.isnan(flips([], []).flip_rate)
