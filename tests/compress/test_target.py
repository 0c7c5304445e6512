"""What a target makes of measured gears, and which second planes an artifact has room for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onesec.compress.evaluate import Divergence, Estimate, Quality
from onesec.compress.ladder import Rung
from onesec.compress.room import Room, room_of
from onesec.compress.target import corrected_ms
from onesec.core.gear import UNIFORM, Gear
from onesec.model.shapes import shape


def rung(took_ms: float, said_ms: float | None = None) -> Rung:
    one = Estimate(1.0, 0.0)
    quality = Quality("g", 10, 1.0, one, one, Divergence(one, one, 1.0, one, one))
    return Rung(UNIFORM[4] if said_ms is None else Gear("g", 4), took_ms, quality, said_ms)


def test_a_target_that_was_missed_is_asked_for_as_far_along_as_it_lies() -> None:
    found = corrected_ms([rung(8.0), rung(10.5, 10.0), rung(12.0, 11.9)], 10.0, 7.6)
    assert found == pytest.approx(7.6 + (9.9 - 8.0) / 2.5 * 2.4)
    # A machine that became twice as slow between: between what was said, not beside it.
    found = corrected_ms([rung(16.0), rung(19.0, 8.5), rung(24.0, 9.5)], 20.0, 8.0)
    assert found == pytest.approx(8.5 + (19.8 - 19.0) / 5.0)


@pytest.mark.parametrize(
    "rungs",
    [
        [rung(8.0), rung(9.9, 10.0), rung(12.0, 12.0)],  # near enough
        [rung(8.0), rung(9.0, 9.1)],  # all take less
        [rung(11.0), rung(12.0, 12.1)],  # all take more
        [rung(9.85)],
    ],
)
def test_a_target_is_not_asked_for_again_where_that_brings_nothing(rungs: list[Rung]) -> None:
    assert corrected_ms(rungs, 10.0, 7.9) is None


@given(took=st.lists(st.floats(1.0, 100.0), min_size=1), asked_ms=st.floats(1.0, 100.0))
def test_what_is_asked_for_again_lies_between_what_was_said(
    took: list[float], asked_ms: float
) -> None:
    rungs = [rung(ms, 0.5 * ms) for ms in took]
    found = corrected_ms(rungs, asked_ms, 1.0)
    assert found is None or 0.5 * min(took) - 1e-9 <= found <= 0.5 * asked_ms + 1e-9


@given(
    sizes=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 50), min_size=1),
    losses=st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0.0, 1.0)),
    size_bytes=st.integers(0, 400),
)
def test_planes_that_stay_fit_and_none_more_would(
    sizes: dict[str, int], losses: dict[str, float], size_bytes: int
) -> None:
    room = Room(100, sizes)
    wide = room.wide(losses, size_bytes)
    total = room.least_bytes + sum(sizes[name] for name in wide)
    assert total <= size_bytes or not wide
    assert all(total + sizes[name] > size_bytes for name in sizes.keys() - wide)


def test_a_shape_s_planes_are_counted() -> None:
    config = shape("smollm2-135m")
    room = room_of(config, 0)
    assert set(room.lo_bytes) >= {"embed", "layers.0.qkv", "layers.29.down"}
    bits = 8 * sum(room.lo_bytes.values()) / 134_515_008
    assert bits == pytest.approx(4.0, rel=0.01)
    assert room_of(config, 1000).least_bytes - room.least_bytes == 1000
