"""Linear against the planes' format read byte by byte, and its products against float64 sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.backend.cpu import cpu_features
from onesec.backend.linear import WIDTHS, Linear
from onesec.core.errors import InvalidRequest


def matrix(rows: int, cols: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, cols)).astype(np.float32), rng.normal(size=rows).astype("f4")


@given(st.integers(1, 40), st.integers(1, 200), st.integers(0, 9))
def test_widths_are_as_near_as_their_steps(rows: int, cols: int, seed: int) -> None:
    weight, bias = matrix(rows, cols, seed)
    linear = Linear(weight, bias)
    # One unit a row: the larger of 1/255 of the widest step and 1/(255 * 8) of the lowest value.
    # Scales and minima are whole units, so that a step may be one unit larger, and one half (eight
    # units over fifteen steps) for the minimum. A grid may span the range in 14 steps or more.
    low, high = np.zeros((rows, 1)), np.zeros((rows, 1))
    steps = np.zeros(weight.shape)
    for begin in range(0, cols, 32):
        part = weight[:, begin : begin + 32]
        bottom = np.minimum(part.min(axis=1, keepdims=True), 0.0)
        top = np.maximum(part.max(axis=1, keepdims=True), 0.0)
        low, high = np.minimum(low, bottom), np.maximum(high, top - bottom)
        steps[:, begin : begin + 32] = (top - bottom) / 14
    unit = np.maximum(high / 15 / 255, -low / (255 * 8))
    steps += 1.6 * unit
    # A value is rounded to sixteenths first, and then to the nearest step: half of each together.
    assert (np.abs(linear.weight(4) - weight) <= (17 / 32 + 1e-4) * steps + 1e-6).all()
    assert (np.abs(linear.weight(8) - weight) <= (1 / 32 + 1e-4) * steps + 1e-6).all()
    np.testing.assert_array_equal(linear.weight(16), weight.astype(np.float16).astype(np.float32))


@given(st.integers(1, 40), st.integers(1, 200), st.integers(0, 70), st.integers(0, 9))
def test_products_are_those_of_the_widths_values(
    rows: int, cols: int, count: int, seed: int
) -> None:
    weight, bias = matrix(rows, cols, seed)
    linear = Linear(weight, bias)
    x = np.random.default_rng(seed + 1).normal(size=(count, cols)).astype(np.float32)
    rounded = x.copy()
    for begin in range(0, cols, 32):
        part = x[:, begin : begin + 32]
        unit = np.abs(part).max(axis=1, keepdims=True) / 127 if count else 1.0
        rounded[:, begin : begin + 32] = np.rint(part / unit) * unit
    for width in WIDTHS:
        wide = (x if width == 16 else rounded).astype(np.float64)
        expected = wide @ linear.weight(width).T.astype(np.float64) + bias
        found = linear(x, width)
        assert found.shape == (count, rows)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3 * np.sqrt(cols))


def test_a_row_is_the_same_alone() -> None:
    linear = Linear(*matrix(33, 130))
    x = np.random.default_rng(5).normal(size=(70, 130)).astype(np.float32)
    for width in WIDTHS[:2]:
        alone = np.concatenate([linear(row[None], width) for row in x])
        np.testing.assert_array_equal(linear(x, width), alone)


def test_cheaper_widths_read_less() -> None:
    linear = Linear(*matrix(32, 128))
    assert [linear.weight_bytes(width) for width in WIDTHS] == [
        2 * 2 * 576 + 32 * 4,
        2 * 2 * (576 + 512) + 32 * 4,
        32 * 128 * 2,
    ]


def test_wrong_values_are_refused() -> None:
    weight, bias = matrix(3, 5)
    for bad in (weight[0], weight[:0]):
        with pytest.raises(InvalidRequest, match="not"):
            Linear(bad, bias)
    with pytest.raises(InvalidRequest, match="bias of shape"):
        Linear(weight, bias[:2])
    for value in (np.inf, np.nan, 1e6):
        spoiled = weight.copy()
        spoiled[1, 2] = value
        with pytest.raises(InvalidRequest, match="not finite"):
            Linear(spoiled, bias)
    with pytest.raises(InvalidRequest, match="not finite"):
        Linear(weight, np.array([0.0, 1e300, 0.0]))  # type: ignore[arg-type]
    linear = Linear(weight, bias)
    with pytest.raises(InvalidRequest, match="5 columns"):
        linear(weight[:, :4], 4)
    with pytest.raises(InvalidRequest, match="width of 0"):
        linear(weight, 0)


@pytest.mark.parametrize("isa", cpu_features()["isas"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [1, 70])
def test_what_is_no_number_stays_none(
    isa: str, width: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONESEC_ISA", isa)
    linear = Linear(*matrix(3, 64))
    for column in range(64):
        for rest in (0.0, 1.0):
            x = np.full((count, 64), rest, np.float32)
            x[-1, column] = np.nan
            found = linear(x, width)
            assert np.isnan(found[-1]).all(), (column, rest)
            assert np.isfinite(found[:-1]).all(), (column, rest)


@pytest.mark.parametrize("isa", cpu_features()["isas"])
@pytest.mark.parametrize("width", [4, 8])
def test_inputs_next_to_nothing_count_for_nothing(
    isa: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONESEC_ISA", isa)
    linear = Linear(matrix(3, 64)[0], np.zeros(3, np.float32))
    x = np.float32(1e-40) * (np.arange(64) % 3).astype(np.float32)[None]
    assert (linear(x, width) == 0.0).all()
