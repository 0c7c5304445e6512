"""A deadline handed down to parts: what one leaves over is the others', and no more is given out
than there is."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onesec.core.clock import FakeClock, MonotonicClock
from onesec.core.deadline import Budget, Deadline
from onesec.core.errors import DeadlineInfeasible, InvalidRequest

WEIGHTS = st.lists(st.floats(0.1, 10.0), min_size=1, max_size=12)
TOTALS = st.floats(1.0, 10_000.0)
TICK_MS = 1e-5  # instants are whole nanoseconds


def rests(weights: list[float]) -> list[float]:
    """The weight of all parts still to do, before each part."""
    return [math.fsum(weights[i:]) for i in range(len(weights))]


@given(TOTALS, WEIGHTS, st.floats(0.0, 500.0), st.data())
def test_parts_that_keep_their_time_end_before_the_reserve(
    total_ms: float, weights: list[float], reserve_ms: float, data: st.DataObject
) -> None:
    clock = FakeClock(10**9)
    due = Deadline.within(Budget(total_ms=total_ms), clock.now_ns())
    for weight, rest in zip(weights, rests(weights), strict=True):
        now_ns = clock.now_ns()
        part = due.part(weight, of=rest, reserve_ms=reserve_ms, now_ns=now_ns)
        part_ms = part.left_ms(now_ns)
        assert 0.0 <= part_ms <= max(0.0, due.left_ms(now_ns) - reserve_ms) + TICK_MS
        clock.advance_ms(part_ms * data.draw(st.floats(0.0, 1.0)))
    assert due.left_ms(clock.now_ns()) >= min(reserve_ms, total_ms) - 1e-3


@given(TOTALS, WEIGHTS)
def test_parts_that_use_all_of_it_get_their_weights(total_ms: float, weights: list[float]) -> None:
    clock = FakeClock(0)
    due = Deadline.within(Budget(total_ms=total_ms), 0)
    for weight, rest in zip(weights, rests(weights), strict=True):
        part_ms = due.part_ms(weight, of=rest, now_ns=clock.now_ns())
        assert part_ms == pytest.approx(total_ms * weight / sum(weights), rel=1e-3, abs=1e-3)
        clock.advance_ms(part_ms)
    assert due.left_ms(clock.now_ns()) == pytest.approx(0.0, abs=1e-3)


@given(TOTALS, WEIGHTS, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_time_that_a_part_did_not_use_flows_to_all_later_ones(
    total_ms: float, weights: list[float], used: float, less: float
) -> None:
    assume(len(weights) > 1)
    due, rest = Deadline.within(Budget(total_ms=total_ms), 0), rests(weights)
    first_ms = due.part_ms(weights[0], of=rest[0], now_ns=0)
    late_ns, soon_ns = (int(share * first_ms * 1e6) for share in (used, used * less))
    for weight, others in zip(weights[1:], rest[1:], strict=True):
        soon_ms = due.part_ms(weight, of=others, now_ns=soon_ns)
        assert soon_ms >= due.part_ms(weight, of=others, now_ns=late_ns)


@given(TOTALS, TOTALS, st.floats(0.1, 2.0), st.floats(0.0, 500.0), st.floats(0.0, 300.0))
def test_more_time_never_gives_a_part_less(
    total_ms: float, more_ms: float, weight: float, reserve_ms: float, least_ms: float
) -> None:
    parts = [
        Deadline(total_ns=round(ms * 1e6)).part_ms(
            weight, of=2.0, reserve_ms=reserve_ms, least_ms=least_ms, now_ns=0
        )
        for ms in (total_ms, total_ms + more_ms)
    ]
    assert all(low <= high for low, high in pairwise(parts))


@given(TOTALS, st.floats(0.0, 500.0), st.floats(0.1, 900.0), st.floats(0.01, 1.0))
def test_a_part_gets_what_it_needs_or_is_refused_with_what_would_help(
    total_ms: float, reserve_ms: float, least_ms: float, weight: float
) -> None:
    due = Deadline.within(Budget(total_ms=total_ms), 0)
    options = {"reserve_ms": reserve_ms, "least_ms": least_ms, "now_ns": 0}
    if due.left_ms(0) - reserve_ms >= least_ms:
        part_ms = due.part(weight, of=1.0, **options).left_ms(0)  # type: ignore[arg-type]
        assert part_ms >= least_ms - TICK_MS
        return
    with pytest.raises(DeadlineInfeasible) as caught:
        due.part(weight, of=1.0, **options)  # type: ignore[arg-type]
    assert caught.value.budget_ms == pytest.approx(total_ms, abs=1e-3)
    enough = Deadline.within(Budget(total_ms=caught.value.feasible_ms + TICK_MS), 0)
    enough.part(weight, of=1.0, **options)  # type: ignore[arg-type]


def test_nothing_is_ever_negative_and_what_is_over_is_refused_by_whoever_plans() -> None:
    late = Deadline(total_ns=10**6)
    assert late.part_ms(now_ns=10**9) == 0.0
    assert late.part(now_ns=10**9).left_ms(10**9) == 0.0
    budget = Budget.of(late, now_ns=10**9)
    assert budget.total_ms is not None
    assert 0.0 < budget.total_ms < 0.01


def test_without_a_deadline_parts_have_none() -> None:
    part = Deadline().part(1, of=3, reserve_ms=10.0, least_ms=10.0)
    assert part == Deadline()
    assert Budget.of(part) == Budget()


def test_the_clock_may_be_left_out() -> None:
    before_ns = MonotonicClock().now_ns()
    due = Deadline.within("1s")
    assert due.total_ns is not None
    assert due.total_ns >= before_ns + 10**9
    assert due.part(1, of=2).left_ms() < 501.0


def test_first_tokens_are_kept_by_the_whole_and_not_handed_down() -> None:
    due = Budget(total_ms=100.0, ttft_ms=20.0).deadline(0)
    assert Budget.of(due, 5 * 10**6) == Budget(total_ms=95.0, ttft_ms=15.0)
    assert due.part(now_ns=0).ttft_ns is None


@pytest.mark.parametrize("value", ["800ms", True, [1.0], math.nan, -1.0])
def test_a_budget_of_no_milliseconds_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest, match="ttft_ms"):
        Budget(ttft_ms=value)  # type: ignore[arg-type]


def test_a_number_beyond_all_durations_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="too large"):
        Budget.of(10**5000)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("of", 0),
        ("of", -1.0),
        ("of", math.nan),
        ("of", None),
        ("weight", -1.0),
        ("weight", math.nan),
        ("weight", "1"),
        ("weight", True),
        ("reserve_ms", -5.0),
        ("reserve_ms", math.inf),
        ("least_ms", math.nan),
    ],
)
@pytest.mark.parametrize("due", [Deadline(total_ns=10**9), Deadline()])
def test_what_no_time_can_be_divided_by_is_refused(due: Deadline, name: str, value: Any) -> None:
    for part in (due.part, due.part_ms):
        with pytest.raises(InvalidRequest, match=f"^{name} is "):
            part(now_ns=0, **{name: value})


def test_a_duration_that_is_just_too_long_is_told_as_it_is() -> None:
    with pytest.raises(InvalidRequest, match=r"600000\.1 ms"):
        Budget.of("600.0001s")
