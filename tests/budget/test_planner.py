from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onesec.budget.latency import P50, GearCost, LatencyModel
from onesec.budget.length import LengthModel
from onesec.budget.planner import Ask, Plan, Policy, plan, prompt_room
from onesec.core.errors import DeadlineInfeasible

GEARS = ("g1", "g2", "g3")
LATENCY = LatencyModel(
    {
        "g1": GearCost(a_ms=1, b_ms=0.2, c_ms=1e-5, p_ms=0.001, q_ms=5),
        "g2": GearCost(a_ms=1, b_ms=0.3, c_ms=1e-5, p_ms=0.001, q_ms=7),
        "g3": GearCost(a_ms=1, b_ms=0.4, c_ms=1e-5, p_ms=0.001, q_ms=10),
    }
)
SURE = LatencyModel(  # a machine without noise
    {
        gear: replace(LATENCY.cost(gear), prefill_tail=(1.0, 1.0), step_tail=(1.0, 1.0))
        for gear in GEARS
    }
)
LENGTH = LengthModel()


def ask(**values: object) -> Ask:
    given_values: dict[str, object] = {
        "prompt_tokens": 100,
        "limit_tokens": 500,
        "gears": GEARS,
        **values,
    }
    return Ask(**given_values)  # type: ignore[arg-type]


def planned(**values: object) -> Plan:
    return plan(ask(**values), LATENCY, LENGTH)


def test_without_a_budget_the_best_gear_and_all_tokens() -> None:
    result = planned()
    assert (result.gear, result.prefill_gear, result.max_tokens) == ("g3", "g3", 500)
    assert result.landing_reserve_tokens == 0


def test_gears_get_cheaper_as_the_budget_shrinks_then_it_is_refused() -> None:
    gears = [planned(budget_ms=ms).gear for ms in (8000.0, 1900.0, 600.0)]
    assert gears == ["g3", "g2", "g1"]
    with pytest.raises(DeadlineInfeasible) as caught:
        planned(budget_ms=40.0)
    assert caught.value.budget_ms == 40.0
    assert caught.value.feasible_ms > 40.0


BUSY = {"g1": 12.0, "g2": 12.0, "g3": 0.0}  # others decode, all of them in g3


def test_a_rhythm_is_kept_in_the_gear_that_others_decode_in() -> None:
    assert planned(tpot_ms=13.0, others_ms=BUSY).gear == "g3"  # 10 ms; g1 takes 5 + 12
    with pytest.raises(DeadlineInfeasible) as caught:
        planned(tpot_ms=9.0, others_ms=BUSY)
    assert 10.0 < caught.value.feasible_ms < 13.0
    assert planned(tpot_ms=caught.value.feasible_ms, others_ms=BUSY).gear == "g3"


def test_a_prompt_that_a_better_gear_finds_in_the_cache_is_read_in_that_gear() -> None:
    told = {"prompt_tokens": 1000, "cached_tokens": {"g3": 960}}
    plan_of = planned(**told, budget_ms=160.0)
    assert (plan_of.gear, plan_of.prefill_gear) == ("g1", "g3")
    assert planned(**told, ttft_ms=60.0).prefill_gear == "g3"
    assert prompt_room(ask(**told, budget_ms=340.0), LATENCY, LENGTH) == 1000
    assert planned(prompt_tokens=1000, budget_ms=900.0).prefill_gear == "g1"


def test_a_first_token_budget_binds_the_prompt_only() -> None:
    tight = planned(prompt_tokens=1000, ttft_ms=330.0)
    assert (tight.prefill_gear, tight.gear) == ("g2", "g3")
    with pytest.raises(DeadlineInfeasible, match="first token"):
        planned(prompt_tokens=1000, ttft_ms=50.0)


def test_cached_prompt_tokens_cost_nothing() -> None:
    with pytest.raises(DeadlineInfeasible):
        planned(prompt_tokens=1000, budget_ms=120.0)
    assert planned(prompt_tokens=1000, budget_ms=120.0, cached_tokens={"g1": 900}).gear == "g1"


ASKS = st.fixed_dictionaries(
    {
        "prompt_tokens": st.integers(1, 2000),
        "limit_tokens": st.integers(1, 1000),
        "min_tokens": st.integers(0, 20),
        "elapsed_ms": st.floats(0, 50),
        "wait_ms": st.floats(0, 200),
        "batch": st.integers(1, 16),
        "others_ms": st.dictionaries(st.sampled_from(GEARS), st.floats(0, 20)),
        "turn_ms": st.floats(0, 20),
        "chunk_tokens": st.sampled_from([64, 512]),
        "gears": st.sampled_from([GEARS, GEARS[:1], GEARS[1:], GEARS[2:]]),
    }
)


@given(ASKS, st.floats(1, 20_000), st.floats(0, 20_000), st.lists(st.integers(1, 400), max_size=20))
def test_more_budget_is_never_worse(
    values: dict[str, object], budget_ms: float, more_ms: float, answers: list[int]
) -> None:
    length = LengthModel()
    for tokens in answers:
        length.observe(tokens, ended=True)
    small = ask(**values, budget_ms=budget_ms)
    try:
        first = plan(small, SURE, length)
    except DeadlineInfeasible:
        assume(False)
    second = plan(ask(**values, budget_ms=budget_ms + more_ms), SURE, length)
    unlimited = plan(ask(**values), SURE, length)
    for worse, better in ((first, second), (second, unlimited)):
        assert GEARS.index(worse.gear) <= GEARS.index(better.gear)
        assert worse.max_tokens <= better.max_tokens
    smallest = 1 + length.quantile(Policy().smallest_quantile)
    need = max(small.min_tokens, min(8, smallest))
    assert first.max_tokens >= min(small.limit_tokens, need)


@given(ASKS, st.floats(0.01, 3000))
def test_a_budget_is_refused_where_the_smallest_answer_does_not_fit(
    values: dict[str, object], budget_ms: float
) -> None:
    feasible_ms = plan(ask(**values), LATENCY, LENGTH).feasible_ms
    offered_ms = None
    try:
        plan(ask(**values, budget_ms=budget_ms), LATENCY, LENGTH)
    except DeadlineInfeasible as refusal:
        offered_ms = refusal.feasible_ms
    if offered_ms is None:
        assert budget_ms > feasible_ms - 1.5
    else:
        assert budget_ms < feasible_ms <= offered_ms
    plan(ask(**values, budget_ms=feasible_ms), LATENCY, LENGTH)
    with pytest.raises(DeadlineInfeasible):
        plan(ask(**values, budget_ms=max(1e-3, feasible_ms - 1.5)), LATENCY, LENGTH)


@given(ASKS, st.lists(st.integers(1, 400), max_size=40))
def test_what_a_refusal_offers_has_room_for_an_answer_that_ends_well(
    values: dict[str, object], answers: list[int]
) -> None:
    length, policy = LengthModel(), Policy()
    for tokens in answers:
        length.observe(tokens, ended=True)
    with pytest.raises(DeadlineInfeasible) as caught:
        plan(ask(**values, budget_ms=1e-3), LATENCY, length)
    offered = plan(ask(**values, budget_ms=caught.value.feasible_ms), LATENCY, length)
    whole = min(policy.landable_tokens, length.quantile(policy.whole_quantile))
    room = offered.max_tokens
    usual = length.quantile(policy.target_quantile)
    assert room >= min(int(str(values["limit_tokens"])), whole, usual)


def test_the_first_token_is_promised_and_the_rest_of_the_smallest_answer_is_usual() -> None:
    noisy = LatencyModel(
        {
            gear: replace(LATENCY.cost(gear), prefill_tail=(1.3, 1.5), step_tail=(1.3, 1.5))
            for gear in GEARS
        }
    )
    long = LengthModel()
    for _ in range(100):
        long.observe(300, ended=True)
    for prompt_tokens in (20, 1000):
        values = ask(prompt_tokens=prompt_tokens, chunk_tokens=prompt_tokens)
        usual_ms = noisy.prefill_ms("g1", prompt_tokens, quantile=P50)
        usual_ms += noisy.decode_ms("g1", prompt_tokens, 7, quantile=P50)
        first_ms = noisy.prefill_ms("g1", prompt_tokens)
        assert (first_ms > usual_ms) == (prompt_tokens == 1000)  # one of each is seen
        least_ms = plan(values, noisy, long).feasible_ms
        assert least_ms == Policy().budget_for(max(first_ms, usual_ms))


def test_short_answers_are_given_where_long_ones_are_not() -> None:
    yes, essay = LengthModel(), LengthModel()
    for _ in range(100):
        yes.observe(2, ended=True)
        essay.observe(300, ended=True)
    needs = [plan(ask(), LATENCY, length).feasible_ms for length in (yes, essay)]
    step_ms = LATENCY.step_ms("g1", 100)
    # Two tokens and their end against eight, the most that is called the smallest answer.
    assert needs[1] - needs[0] == pytest.approx(5 * step_ms, abs=2.0)
    offers = []
    for length in (yes, essay):
        with pytest.raises(DeadlineInfeasible) as caught:
            plan(ask(budget_ms=20.0), LATENCY, length)
        offers.append(caught.value.feasible_ms)
    assert offers[0] - needs[0] < 2 * step_ms
    assert offers[1] - needs[1] > 35 * step_ms  # enough to land after a sentence or two


def test_time_that_is_over_counts_against_the_first_token_too() -> None:
    assert planned(ttft_ms=40.0).gear == "g3"
    for over in ({"elapsed_ms": 30.0}, {"wait_ms": 30.0}):
        with pytest.raises(DeadlineInfeasible) as caught:
            planned(ttft_ms=40.0, **over)
        assert caught.value.which == "ttft"


def test_work_for_others_beside_each_chunk_is_counted() -> None:
    alone, beside = (planned(chunk_tokens=50, turn_ms=ms).feasible_ms for ms in (0.0, 10.0))
    assert beside - alone == pytest.approx(20.0, abs=1.5)  # two chunks


def test_the_shortest_answer_has_some_tokens_to_land_in() -> None:
    shortest = planned(budget_ms=planned().feasible_ms)
    assert shortest.max_tokens < 10
    assert shortest.landing_reserve_tokens == 4


def test_a_prompt_in_a_better_gear_must_leave_time_for_stalls() -> None:
    """Its time cannot be taken back. One that is read in the cheapest gear keeps nothing."""

    def gear(share: float, **values: object) -> str:
        asked = ask(budget_ms=2000.0, **values)
        return plan(asked, SURE, LENGTH, Policy(reserve_share=share)).gear

    assert [gear(share) for share in (0.0, 0.5)] == ["g2", "g1"]
    assert [gear(share, ttft_ms=30.0) for share in (0.0, 0.5)] == ["g2", "g2"]


@given(ASKS, st.floats(1, 3000))
def test_a_better_gear_begins_where_the_plan_says(
    values: dict[str, object], budget_ms: float
) -> None:
    values = {**values, "others_ms": {}}  # with which a better gear may be the quicker one
    try:
        found = plan(ask(**values, budget_ms=budget_ms), SURE, LENGTH)
    except DeadlineInfeasible:
        assume(False)
    assume(found.better_ms is not None)
    assert found.better_ms is not None
    enough_ms = Policy().budget_for(found.better_ms)
    gears = [
        plan(ask(**values, budget_ms=max(budget_ms, ms)), SURE, LENGTH).gear
        for ms in (enough_ms - 2.0, enough_ms)
    ]
    assert gears[0] == found.gear
    assert GEARS.index(gears[1]) > GEARS.index(found.gear)


# -- the prompt's room ---------------------------------------------------------------------------


@given(ASKS, st.floats(0.1, 3000), st.floats(0, 3000))
def test_what_the_prompt_has_room_for_fits_and_one_token_more_does_not(
    values: dict[str, object], budget_ms: float, more_ms: float
) -> None:
    asked = ask(**values, budget_ms=budget_ms)
    room = prompt_room(asked, SURE, LENGTH)
    assert 0 <= room <= asked.prompt_tokens
    assert room <= prompt_room(ask(**values, budget_ms=budget_ms + more_ms), SURE, LENGTH)
    assert prompt_room(ask(**values), SURE, LENGTH) == asked.prompt_tokens
    if room:
        plan(replace(asked, prompt_tokens=room), SURE, LENGTH)
    if room < asked.prompt_tokens:
        larger = replace(asked, prompt_tokens=room + 1)
        assert prompt_room(larger, SURE, LENGTH) == room
        with pytest.raises(DeadlineInfeasible):  # a budget that is a little less refuses it
            plan(replace(larger, min_tokens=48), SURE, LENGTH)


def test_a_cached_prompt_has_more_room() -> None:
    values = {"prompt_tokens": 1000, "budget_ms": 420.0}
    assert prompt_room(ask(**values), LATENCY, LENGTH) < 1000
    assert prompt_room(ask(**values, cached_tokens={"g1": 900}), LATENCY, LENGTH) == 1000


def test_the_first_token_limits_the_prompt_too() -> None:
    room = prompt_room(ask(prompt_tokens=2000, ttft_ms=100.0), LATENCY, LENGTH)
    plan(ask(prompt_tokens=room, ttft_ms=100.0), LATENCY, LENGTH)
    with pytest.raises(DeadlineInfeasible):
        plan(ask(prompt_tokens=room + 1, ttft_ms=100.0), LATENCY, LENGTH)


@given(ASKS, st.floats(0.01, 500))
def test_the_counter_offer_for_the_first_token_works(
    values: dict[str, object], ttft_ms: float
) -> None:
    try:
        plan(ask(**values, ttft_ms=ttft_ms), LATENCY, LENGTH)
    except DeadlineInfeasible as refusal:
        plan(ask(**values, ttft_ms=refusal.feasible_ms), LATENCY, LENGTH)


def test_a_token_budget_binds_the_gear_of_the_answer_only() -> None:
    kept = planned(tpot_ms=8.0)  # g2 takes 7 ms and a little for what is cached
    assert (kept.gear, kept.prefill_gear) == ("g2", "g2")
    assert planned(tpot_ms=20.0).gear == "g3"
    assert planned(tpot_ms=20.0, others_ms={"g3": 12.0}).gear == "g2"
    assert planned(tpot_ms=8.0, others_ms={"g2": 3.0}).gear == "g1"


@given(ASKS, st.floats(0.01, 60), st.floats(0, 40))
def test_the_counter_offer_for_a_token_works_and_is_the_smallest(
    values: dict[str, object], tpot_ms: float, more_ms: float
) -> None:
    refusal, first = None, None
    try:
        first = planned(**values, tpot_ms=tpot_ms)
    except DeadlineInfeasible as error:
        refusal = error
    if first is not None:
        second = planned(**values, tpot_ms=tpot_ms + more_ms)
        assert GEARS.index(first.gear) <= GEARS.index(second.gear)
        return
    assert refusal is not None
    assert (refusal.which, refusal.budget_ms) == ("tpot", tpot_ms)
    assert refusal.feasible_ms > tpot_ms
    planned(**values, tpot_ms=refusal.feasible_ms)
    with pytest.raises(DeadlineInfeasible, match="per-token budget"):
        planned(**values, tpot_ms=0.999 * refusal.feasible_ms)


@given(ASKS, st.floats(0.01, 3000), st.floats(0.01, 500), st.floats(0.01, 60))
def test_budgets_that_are_offered_one_by_one_do_together(
    values: dict[str, object], total_ms: float, ttft_ms: float, tpot_ms: float
) -> None:
    budgets = {"budget_ms": total_ms, "ttft_ms": ttft_ms, "tpot_ms": tpot_ms}
    names = {"total": "budget_ms", "ttft": "ttft_ms", "tpot": "tpot_ms"}
    for _ in range(4):
        try:
            planned(**values, **budgets)
            return
        except DeadlineInfeasible as refusal:
            budgets[names[refusal.which]] = refusal.feasible_ms
    raise AssertionError(f"refused over and over: {budgets}")


def test_the_last_token_of_a_long_answer_is_the_slowest() -> None:
    long = LengthModel()
    for _ in range(100):
        long.observe(2000, ended=True)
    gears = [
        plan(ask(limit_tokens=limit, tpot_ms=11.0), LATENCY, long).gear for limit in (20, 2000)
    ]
    assert gears == ["g3", "g2"]
