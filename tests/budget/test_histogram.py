"""Histograms of lengths: survival against its definition, fading, and what is read from disk."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.budget.histogram import BINS, EDGES, Histogram, at, log_logistic, where

PRIOR = log_logistic(96.0, 1.7)
LENGTHS = st.lists(st.tuples(st.floats(0.0, 2e5), st.booleans()), max_size=40)


def filled(answers: list[tuple[float, bool]]) -> Histogram:
    histogram = Histogram()
    for length, ended in answers:
        histogram.add(length, ended=ended)
    return histogram


def kaplan_meier(answers: list[tuple[float, bool]], weight: float) -> list[float]:
    """The survival by its definition: a product over bins of those that go on."""
    keep = 1.0 - 1.0 / 256.0
    weights = [keep ** (len(answers) - 1 - i) for i in range(len(answers))]
    result = [1.0]
    for low, high, s0, s1 in zip(EDGES, EDGES[1:], PRIOR, PRIOR[1:], strict=False):
        in_bin = [low < n <= high or (low == 0 and n == 0) or (high == EDGES[-1] and n > high)
                  for n, _ in answers]  # fmt: skip
        gone = sum(
            w for w, (_, e), here in zip(weights, answers, in_bin, strict=True) if here and e
        )
        later = [n > high for n, _ in answers]
        risk = sum(w for w, here, more in zip(weights, in_bin, later, strict=True) if here or more)
        hazard = (weight * (1.0 - s1 / s0) + gone) / (weight + risk)
        result.append(result[-1] * (1.0 - hazard))
    return result


@given(LENGTHS, st.sampled_from([4.0, 8.0]))
def test_survival_is_kaplan_meier_over_a_prior(
    answers: list[tuple[float, bool]], weight: float
) -> None:
    found = filled(answers).survival(PRIOR, weight)
    assert len(found) == BINS + 1
    assert found == pytest.approx(kaplan_meier(answers, weight), abs=1e-9)
    assert found == sorted(found, reverse=True)


def test_nothing_counted_is_the_prior() -> None:
    assert Histogram().survival(PRIOR, 8.0) == pytest.approx(PRIOR)


@given(st.floats(0.001, 0.999))
def test_where_is_the_inverse_of_at(level: float) -> None:
    assert at(PRIOR, where(PRIOR, level)) == pytest.approx(level)


@given(LENGTHS, LENGTHS)
def test_absorbing_is_counting_on(
    first: list[tuple[float, bool]], then: list[tuple[float, bool]]
) -> None:
    whole, parts = filled(first + then), filled(first)
    parts.absorb(filled(then))
    assert parts.survival(PRIOR, 4.0) == pytest.approx(whole.survival(PRIOR, 4.0))


@given(LENGTHS)
def test_it_comes_back_from_json(answers: list[tuple[float, bool]]) -> None:
    histogram = filled(answers)
    again = Histogram.from_dict(json.loads(json.dumps(histogram.to_dict())))
    assert again.survival(PRIOR, 4.0) == pytest.approx(histogram.survival(PRIOR, 4.0), abs=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ended": [[BINS, 1.0]]},
        {"ended": [[-1, 1.0]]},
        {"ended": [[0.0, 1.0]]},
        {"ended": [[True, 1.0]]},
        {"ended": [[0, math.nan]]},
        {"ended": [[0, -1.0]]},
        {"ended": [[0, 200.0], [1, 200.0]]},
        {"ended": [[0]]},
        {"ended": None},
        {"lead": math.inf},
    ],
)
def test_what_is_no_histogram_is_refused(wrong: dict[str, object]) -> None:
    values = {"ended": [], "stopped": [], "lead": 0.0, **wrong}
    with pytest.raises((KeyError, TypeError, ValueError)):
        Histogram.from_dict(values)
