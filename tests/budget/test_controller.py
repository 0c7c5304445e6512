import math
import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from onesec.budget.controller import Standing, shift
from onesec.budget.latency import GearCost, LatencyModel
from onesec.budget.policy import POLICIES, Policy

GEARS = ("4", "6", "8")
POLICY = Policy()


def model() -> LatencyModel:
    return LatencyModel(
        {
            "4": GearCost(b_ms=0.1, p_ms=0.001, q_ms=5.0, step_tail=(1.05, 1.2)),
            "6": GearCost(b_ms=0.1, p_ms=0.001, q_ms=7.0, step_tail=(1.05, 1.2)),
            "8": GearCost(b_ms=0.1, p_ms=0.001, q_ms=9.0, step_tail=(1.05, 1.2)),
        }
    )


LATENCY = model()


def standing(**values: object) -> Standing:
    given_values: dict[str, object] = {
        "gears": GEARS,
        "gear": "6",
        "context": 100,
        "left_ms": 500.0,
        "want_tokens": 40,
        "limit_tokens": 400,
        "zone_tokens": 16,
        "since_shift": 100,
        **values,
    }
    return Standing(**given_values)  # type: ignore[arg-type]


def test_without_a_deadline_nothing_changes() -> None:
    decision = shift(standing(left_ms=math.inf), LATENCY, POLICY)
    assert (decision.gear, decision.land, decision.stop) == ("6", False, False)


def test_behind_shifts_down_to_the_best_gear_that_fits() -> None:
    assert shift(standing(gear="8", left_ms=340.0), LATENCY, POLICY).gear == "6"
    assert shift(standing(gear="8", left_ms=230.0), LATENCY, POLICY).gear == "4"
    assert shift(standing(gear="8", left_ms=150.0), LATENCY, POLICY).gear == "4"


def test_ahead_shifts_up_one_gear_with_a_margin_and_not_at_once() -> None:
    assert shift(standing(left_ms=500.0), LATENCY, POLICY).gear == "8"
    assert shift(standing(left_ms=400.0), LATENCY, POLICY).gear == "6"  # fits, without a margin
    assert shift(standing(left_ms=500.0, since_shift=3), LATENCY, POLICY).gear == "6"
    assert shift(standing(gear="4", left_ms=5000.0), LATENCY, POLICY).gear == "6"


def test_shifting_does_not_flap_while_time_passes_as_predicted() -> None:
    left_ms, gear, shifts, since = 420.0, "6", 0, 100
    for drawn in range(40):
        at = standing(gear=gear, left_ms=left_ms, want_tokens=40 - drawn, context=100 + drawn,
                      since_shift=since)  # fmt: skip
        decision = shift(at, LATENCY, POLICY)
        since += 1
        if decision.gear != gear:
            shifts, since = shifts + 1, 0
        gear = decision.gear
        left_ms -= LATENCY.step_ms(gear, 100 + drawn)
    assert shifts <= 2


def test_what_drafts_gain_counts_by_half() -> None:
    behind = standing(gear="8", left_ms=340.0)
    assert shift(behind, LATENCY, POLICY).gear == "6"
    assert shift(replace(behind, speed=2.0), LATENCY, POLICY).gear == "8"
    assert shift(replace(behind, speed=1.1), LATENCY, POLICY).gear == "6"
    assert shift(replace(behind, speed=0.2), LATENCY, POLICY) == shift(behind, LATENCY, POLICY)


def test_landing_begins_when_only_the_zone_fits_and_stays() -> None:
    assert not shift(standing(left_ms=200.0), LATENCY, POLICY).land
    decision = shift(standing(left_ms=80.0), LATENCY, POLICY)
    assert decision.land
    assert not decision.stop
    assert decision.check_tokens == 1
    assert shift(standing(left_ms=300.0, landing=True), LATENCY, POLICY).land
    # all that may come still fits: there is nothing to land
    assert not shift(standing(left_ms=80.0, limit_tokens=5), LATENCY, POLICY).land


def test_stops_when_no_step_fits() -> None:
    assert not shift(standing(left_ms=6.5), LATENCY, POLICY).stop
    assert shift(standing(left_ms=5.5), LATENCY, POLICY).stop
    assert shift(standing(left_ms=-1.0), LATENCY, POLICY).stop


def test_a_step_that_may_be_late_is_taken_in_the_cheapest_gear() -> None:
    decision = shift(standing(left_ms=7.8, want_tokens=1), LATENCY, POLICY)
    assert (decision.gear, decision.stop) == ("4", False)
    # and no better gear is begun that its last step could not keep
    better = shift(standing(left_ms=10.5, want_tokens=1), LATENCY, POLICIES["quality"])
    assert better.gear == "6"


def test_where_a_late_step_can_be_left_alone_one_more_is_tried() -> None:
    assert not shift(standing(left_ms=5.5, fenced=True), LATENCY, POLICY).stop
    assert shift(standing(left_ms=5.0, fenced=True), LATENCY, POLICY).stop


def test_an_answer_is_looked_at_more_often_near_its_landing() -> None:
    assert shift(standing(left_ms=5000.0), LATENCY, POLICY).check_tokens == 8
    near = shift(standing(left_ms=110.0), LATENCY, POLICY)
    assert (near.land, near.check_tokens) == (False, 1)


def test_where_others_need_the_time_the_cheapest_gear_is_enough() -> None:
    crowded = shift(standing(crowding=1.0), LATENCY, POLICY)
    assert crowded.gear == "4"
    alone = shift(standing(gears=("4",), gear="4"), LATENCY, POLICY)
    assert crowded.slack_ms == alone.slack_ms  # what is left over is told as it is


def test_work_for_others_is_counted() -> None:
    assert shift(standing(gear="8", left_ms=450.0), LATENCY, POLICY).gear == "8"
    assert shift(standing(gear="8", left_ms=450.0, others_ms=5.0), LATENCY, POLICY).gear == "4"
    decision = shift(standing(left_ms=5000.0, others_ms=20.0), LATENCY, POLICY)
    assert decision.check_ms >= decision.check_tokens * 25.0


def rhythm(**values: object) -> Standing:
    return standing(**{"left_ms": math.inf, "tpot_ms": 8.0, "due_ms": 8.0, **values})


def test_a_rhythm_alone_is_steered_and_never_lands() -> None:
    decision = shift(rhythm(), LATENCY, POLICY)
    assert (decision.gear, decision.land, decision.stop) == ("6", False, False)
    assert decision.room_tokens == 400
    assert 0.0 < decision.slack_ms < 8.0


def test_behind_its_rhythm_an_answer_shifts_down() -> None:
    assert shift(rhythm(due_ms=0.0), LATENCY, POLICY).gear == "4"
    assert shift(rhythm(gear="8", tpot_ms=9.0), LATENCY, POLICY).gear == "6"
    assert shift(rhythm(others_ms=2.0), LATENCY, POLICY).gear == "4"
    # the deadline binds too
    assert shift(rhythm(left_ms=250.0), LATENCY, POLICY).gear == "4"


def test_time_saved_does_not_buy_a_gear_that_cannot_keep_the_rhythm() -> None:
    assert shift(rhythm(due_ms=500.0), LATENCY, POLICY).gear == "6"
    assert shift(rhythm(due_ms=500.0, tpot_ms=12.0), LATENCY, POLICY).gear == "8"
    assert shift(rhythm(due_ms=12.0, tpot_ms=12.0), LATENCY, POLICY).gear == "8"
    assert shift(rhythm(due_ms=500.0, tpot_ms=12.0, others_ms=3.0), LATENCY, POLICY).gear == "6"


def test_a_long_answer_must_fit_in_the_cheapest_gear() -> None:
    """40 tokens would fit at 8; 90 need to fit somehow."""
    at = standing(gear="8", left_ms=440.0, want_tokens=40)
    assert shift(at, LATENCY, POLICY).gear == "8"
    assert shift(replace(at, whole_tokens=75), LATENCY, POLICY).gear == "8"
    assert shift(replace(at, whole_tokens=90), LATENCY, POLICY).gear == "4"


@given(
    st.sampled_from(GEARS),
    st.floats(0, 3000),
    st.floats(0, 3000),
    st.integers(1, 300),
    st.integers(0, 2000),
    st.floats(0, 10),
)
def test_more_time_never_gives_a_cheaper_gear(
    gear: str, left_ms: float, more_ms: float, want: int, context: int, others_ms: float
) -> None:
    values = {"gear": gear, "want_tokens": want, "context": context, "others_ms": others_ms}
    first = shift(standing(left_ms=left_ms, **values), LATENCY, POLICY)
    second = shift(standing(left_ms=left_ms + more_ms, **values), LATENCY, POLICY)
    assert GEARS.index(first.gear) <= GEARS.index(second.gear)
    assert first.room_tokens <= second.room_tokens
    assert first.stop >= second.stop


def test_rounding_is_no_cause_for_another_gear() -> None:
    """Where others take all that is to spare, what is left is what the answer needs, to the last
    bit or two."""
    costs = {
        "4": GearCost(b_ms=0.05, p_ms=0.001, q_ms=5.0),
        "8": GearCost(b_ms=0.06, p_ms=0.001, q_ms=9.0),
    }
    rng = random.Random(4)
    for _ in range(300):
        at = Standing(
            gears=("4", "8"),
            gear="8",
            context=rng.randint(1, 300),
            left_ms=rng.uniform(500.0, 2000.0),
            want_tokens=3,
            whole_tokens=rng.randint(20, 60),
            limit_tokens=100,
            zone_tokens=24,
            crowding=1.0,
        )
        assert shift(at, LatencyModel(costs), POLICIES["quality"]).gear == "8"
