"""Curves: what they may never do, and how they are kept."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.core.errors import CorruptFile
from onesec.explain.confidence import FILE, Confidence, Curve, read_confidence, write_confidence

SLOPE = st.floats(0.0, 20.0)
LOGPROB = st.floats(-60.0, 0.0)


@given(SLOPE, SLOPE, st.floats(-20.0, 20.0), LOGPROB, LOGPROB)
def test_a_curve_never_falls_and_stays_a_probability(
    a: float, b: float, c: float, one: float, other: float
) -> None:
    curve = Curve(a, b, c)
    low, high = sorted((one, other))
    assert 0.0 <= curve(low) <= curve(high) <= 1.0


@given(st.floats(1e-5, 1.0 - 1e-5))
def test_without_a_curve_a_token_is_taken_at_its_word(p: float) -> None:
    assert Curve()(math.log(p)) == pytest.approx(p, rel=1e-6)
    assert Confidence().of([math.log(p)], ["8"]) == (Curve()(math.log(p)),)


def test_each_token_goes_by_its_gears_curve() -> None:
    found = Confidence({"4": Curve(c=-2.0), "8": Curve(c=1.0)})
    low, other, high = found.of([-1.0, -1.0, -1.0], ["4", "g2", "8"])
    assert low < math.exp(-1.0) < high == other  # g2 has no curve: the best gear's
    assert found.of([-1.0, -1.0], ["4"]) == (low, high)  # the second token's gear is not told


def test_curves_are_kept_beside_the_weights(tmp_path: Path) -> None:
    assert not read_confidence(tmp_path).calibrated
    record = {"a": 0.5, "b": 0.7, "c": -0.3, "tokens": 900}
    write_confidence(tmp_path, {"4": record}, of="suite mini", order=["4", "8"])
    assert read_confidence(tmp_path) == Confidence({"4": Curve(0.5, 0.7, -0.3)})
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_curves_lie_in_the_gears_order_and_others_keep_theirs(tmp_path: Path) -> None:
    order = ["4", "g1", "8"]
    one, two, three = ({"a": 1.0, "b": 1.0, "c": c} for c in (0.1, 0.2, 0.3))
    write_confidence(tmp_path, {"8": two, "4": one}, of="a text", order=order)
    write_confidence(tmp_path, {"4": three}, of="suite mini", order=order)
    curves = read_confidence(tmp_path).curves
    assert list(curves.items()) == [("4", Curve(c=0.3)), ("8", Curve(c=0.2))]  # the best one last


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"version": 2, "gears": {}},
        {"version": 1, "gears": []},
        {"version": 1, "gears": {"4": None}},
        {"version": 1, "gears": {"4": {"a": -1.0, "b": 1.0, "c": 0.0}}},
        {"version": 1, "gears": {"4": {"a": 1.0, "b": 1.0}}},
        {"version": 1, "gears": {"4": {"a": "1", "b": 1.0, "c": 0.0}}},
        {"version": 1, "gears": {str(i): {"a": 1, "b": 1, "c": 0} for i in range(33)}},
    ],
)
def test_what_nobody_vouches_for_is_refused(tmp_path: Path, value: object) -> None:
    (tmp_path / FILE).write_text(json.dumps(value))
    with pytest.raises(CorruptFile):
        read_confidence(tmp_path)
