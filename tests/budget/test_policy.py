from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onesec.budget.latency import GearCost, LatencyModel
from onesec.budget.length import LengthModel
from onesec.budget.planner import Ask, plan
from onesec.budget.policy import POLICIES
from onesec.core.errors import DeadlineInfeasible, InvalidRequest
from onesec.core.request import POLICY_NAMES, Request

GEARS = ("4", "6", "8")
LATENCY = LatencyModel(
    {
        "4": GearCost(b_ms=0.1, q_ms=5.0),
        "6": GearCost(b_ms=0.1, q_ms=7.0),
        "8": GearCost(b_ms=0.1, q_ms=9.0),
    }
)


def test_every_name_that_a_request_may_say_is_a_policy() -> None:
    assert set(POLICIES) == set(POLICY_NAMES)
    with pytest.raises(InvalidRequest, match="quality, balanced, fastest"):
        Request(id="a", prompt_tokens=(1,), policy="best")  # type: ignore[arg-type]


def gear_of(name: str, budget_ms: float | None, length: LengthModel) -> str:
    ask = Ask(
        prompt_tokens=100,
        limit_tokens=400,
        gears=POLICIES[name].choice(GEARS),
        budget_ms=budget_ms,
    )
    return plan(ask, LATENCY, length, POLICIES[name]).gear


@given(st.one_of(st.none(), st.floats(10, 5000)), st.lists(st.integers(1, 400), max_size=30))
def test_quality_is_never_below_balanced_and_fastest_never_above(
    budget_ms: float | None, answers: list[int]
) -> None:
    length = LengthModel()
    for tokens in answers:
        length.observe(tokens, ended=True)
    names = ("fastest", "balanced", "quality")
    try:
        gears = [gear_of(name, budget_ms, length) for name in names]
    except DeadlineInfeasible:
        assume(False)
    ranks = [GEARS.index(gear) for gear in gears]
    assert all(low <= high for low, high in pairwise(ranks))
    assert gears[0] == "4"
    if budget_ms is None:
        assert gears == ["4", "8", "8"]


@given(st.floats(60, 3000), st.floats(0, 3000))
def test_more_time_is_never_a_cheaper_gear_under_quality(budget_ms: float, more_ms: float) -> None:
    length = LengthModel()
    try:
        first = gear_of("quality", budget_ms, length)
    except DeadlineInfeasible:
        assume(False)
    assert GEARS.index(first) <= GEARS.index(gear_of("quality", budget_ms + more_ms, length))


def test_quality_keeps_room_for_a_long_answer_in_the_cheapest_gear() -> None:
    """The usual answer would fit at 8, but then a long one would not fit at all any more."""
    length = LengthModel()
    for tokens in [20] * 60 + [90] * 40:
        length.observe(tokens, ended=True)
    whole = 10.5 + 5.0 * 1.05 * length.quantile(0.8)  # prompt, and four of five answers, at "4"
    assert gear_of("quality", 1.2 * whole, length) == "8"
    assert gear_of("quality", 0.9 * whole, length) == "4"
