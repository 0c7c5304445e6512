import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onesec.budget.fit import PrefillSample, StepSample, fit
from onesec.budget.latency import P50, P95, P99, GearCost, LatencyModel
from onesec.budget.ratios import Steps, Window
from onesec.core.errors import UnknownGear

COST = GearCost(
    a_ms=2.0,
    b_ms=0.3,
    c_ms=0.001,
    p_ms=0.004,
    q_ms=12.0,
    batch=((1, 1.0), (2, 1.1), (4, 1.3), (8, 1.8)),
)


def samples(cost: GearCost, noise: float, seed: int = 0) -> list[PrefillSample | StepSample]:
    rng = random.Random(seed)
    model = LatencyModel({"g": cost})
    result: list[PrefillSample | StepSample] = []
    for repeat in range(7):
        for n, start in ((16, 0), (64, 0), (256, 0), (256, 256)):
            ms = model.prefill_ms("g", n, start=start, quantile=P50)
            result.append(PrefillSample("g", n, ms * math.exp(rng.gauss(0, noise)), start))
        for batch in (1, 2, 4, 8):
            for context in (16, 512):
                ms = model.step_ms("g", context, batch) * math.exp(rng.gauss(0, noise))
                if repeat == 3:
                    ms *= 20  # a stalled machine
                result.append(StepSample("g", context, ms, batch))
    return result


def test_fit_finds_the_coefficients_again() -> None:
    cost = fit(samples(COST, 0.0)).cost("g")
    for name in ("a_ms", "b_ms", "c_ms", "p_ms", "q_ms"):
        assert getattr(cost, name) == pytest.approx(getattr(COST, name), rel=1e-6), name
    assert dict(cost.batch) == pytest.approx(dict(COST.batch))


def test_fit_is_not_moved_by_outliers() -> None:
    cost = fit(samples(COST, 0.01)).cost("g")
    assert cost.q_ms == pytest.approx(COST.q_ms, rel=0.05)
    assert cost.b_ms == pytest.approx(COST.b_ms, rel=0.3)


def test_what_half_of_a_busy_moment_measured_is_fitted_to_the_other_half() -> None:
    samples: list[PrefillSample | StepSample] = [
        StepSample("g", context, 10.0) for context in (0, 256) for _ in range(4)
    ]
    samples += [StepSample("g", 256, ms, 8) for ms in (20.0, 20.0, 60.0, 60.0)]
    samples += [PrefillSample("g", n, 0.1 * n) for n in (16, 64, 256) for _ in range(3)]
    samples.append(PrefillSample("g", 64, 30.0))
    model = fit(samples)
    assert model.step_ms("g", 256, 8) == pytest.approx(20.0)
    assert model.step_ms("g", 256) == pytest.approx(10.0)
    assert model.prefill_ms("g", 64, quantile=P50) == pytest.approx(6.4)
    assert model.cost("g").step_tail[1] > 2.0  # the busy moment is the tail's


@given(st.lists(st.tuples(st.integers(1, 512), st.floats(0.01, 500.0)), min_size=1, max_size=12))
def test_fitted_coefficients_are_never_negative(points: list[tuple[int, float]]) -> None:
    data: list[PrefillSample | StepSample] = []
    for n, ms in points:
        data += [PrefillSample("g", n, ms), StepSample("g", n, ms), StepSample("g", n, ms, 4)]
    cost = fit(data).cost("g")
    assert min(cost.a_ms, cost.b_ms, cost.c_ms, cost.p_ms, cost.q_ms) >= 0.0
    factors = [factor for _, factor in cost.batch]
    assert factors == sorted(factors)


def test_fit_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="measure both"):
        fit([StepSample("g", 1, 1.0)])


@given(
    st.integers(0, 4000),
    st.integers(1, 600),
    st.integers(1, 20),
    st.lists(st.floats(0.5, 3.0), max_size=400),
)
@settings(max_examples=50)
def test_time_rises_with_tokens_and_with_the_quantile(
    context: int, tokens: int, batch: int, noise: list[float]
) -> None:
    model = LatencyModel({"g": COST})
    for factor in noise:
        model.observe_decode("g", 100, 1, [COST.q_ms * factor])
    p50, p95, p99 = (
        model.decode_ms("g", context, tokens, batch=batch, quantile=q) for q in (P50, P95, P99)
    )
    assert 0.0 < p50 <= p95 <= p99
    fewer = model.decode_ms("g", context, tokens - 1, batch=batch)
    assert fewer < p95
    p50, p95, p99 = (
        model.prefill_ms("g", tokens, start=context, quantile=q) for q in (P50, P95, P99)
    )
    assert p50 <= p95 <= p99


@given(st.integers(0, 4000), st.floats(0.0, 5000.0), st.floats(0.0, 10.0), st.integers(1, 300))
def test_tokens_within_is_the_largest_that_fits(
    context: int, ms: float, others_ms: float, limit: int
) -> None:
    model = LatencyModel({"g": COST})
    count = model.tokens_within("g", context, ms, others_ms=others_ms, limit=limit)

    def need(n: int) -> float:
        return model.decode_ms("g", context, n, quantile=P95) + n * others_ms

    assert count <= limit
    assert need(count) <= ms
    assert count == limit or need(count + 1) > ms


def test_decode_is_the_sum_of_its_steps() -> None:
    model = LatencyModel({"g": COST})
    steps = sum(model.step_ms("g", 100 + i, 4) for i in range(50))
    assert model.decode_ms("g", 100, 50, batch=4, quantile=P50) == pytest.approx(steps, rel=1e-3)


def test_observation_follows_a_machine_that_slowed_down_in_every_gear() -> None:
    model = LatencyModel({"4": GearCost(b_ms=1, q_ms=5), "8": GearCost(b_ms=1, q_ms=9)})
    for _ in range(60):
        model.observe_decode("8", 10, 1, [18.0])
    assert model.step_ms("8", 10) == pytest.approx(18.0, rel=0.02)
    assert model.step_ms("4", 10) == pytest.approx(9.0, rel=0.2)


def test_one_stall_moves_little_and_the_correction_is_bounded() -> None:
    model = LatencyModel({"g": GearCost(b_ms=1, q_ms=10)})
    model.observe_decode("g", 10, 1, [2000.0])
    assert model.step_ms("g", 10) < 12.0
    prompts = LatencyModel({"g": COST})
    before_ms = prompts.prefill_ms("g", 512, quantile=P50)
    prompts.observe_prefill("g", 512, 1000.0 * before_ms)
    assert prompts.prefill_ms("g", 512, quantile=P50) < 1.3 * before_ms
    for _ in range(1000):
        model.observe_decode("g", 10, 1, [1e9])
    assert model.step_ms("g", 10) <= 10.0 * 32.0 * 1.0001
    for _ in range(1000):
        model.observe_decode("g", 10, 1, [1e-9])
    assert model.step_ms("g", 10) >= 10.0 / 4.0 * 0.9999


def test_quantiles_over_the_next_tokens_hold_on_noise_like_that_seen() -> None:
    rng = random.Random(5)
    model = LatencyModel({"g": GearCost(b_ms=1, q_ms=10)})
    late = {8: 0, 32: 0}
    trials = 400
    for _ in range(300):
        model.observe_decode("g", 0, 1, [10 * math.exp(rng.gauss(0, 0.3)) for _ in range(32)])
    for _ in range(trials):
        for horizon in late:
            bound = model.decode_ms("g", 0, horizon, quantile=P95)
            took = [10 * math.exp(rng.gauss(0, 0.3)) for _ in range(horizon)]
            late[horizon] += sum(took) > bound
            model.observe_decode("g", 0, 1, took)
    for horizon, count in late.items():
        assert count / trials < 0.10, horizon
    # the sum of 32 steps' own p95 would be far above the p95 of 32 steps
    assert model.decode_ms("g", 0, 32) < 32 * 10 * math.exp(1.645 * 0.3) * 0.9


def test_prefill_observation_corrects_its_gear() -> None:
    model = LatencyModel({"g": COST})
    before = model.prefill_ms("g", 128, quantile=P50)
    for _ in range(40):
        model.observe_prefill("g", 128, before * 1.5)
    assert model.prefill_ms("g", 128, quantile=P50) == pytest.approx(before * 1.5, rel=0.05)


def test_saved_and_loaded_model_predicts_the_same() -> None:
    model = LatencyModel({"g": COST})
    loaded = LatencyModel.from_dict(json.loads(json.dumps(model.to_dict())))
    for q in (P50, P95, P99):
        told, meant = (
            (
                each.decode_ms("g", 300, 40, batch=4, quantile=q),
                each.prefill_ms("g", 300, quantile=q),
            )
            for each in (loaded, model)
        )
        assert told == meant


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"version": 2, "gears": {}},
        {"version": 1, "gears": {"g": {}}},
        {"version": 1, "gears": {"g": LatencyModel({"g": COST}).to_dict()}},
        {"version": 1, "gears": {"g": {**COST_DICT, "q_ms": float("nan")}}}
        if (COST_DICT := LatencyModel({"g": COST}).to_dict()["gears"]["g"])
        else {},
        {"version": 1, "gears": {"g": {**COST_DICT, "b_ms": -1.0}}},
        {"version": 1, "gears": {"g": {**COST_DICT, "b_ms": 10**400}}},
        {"version": 1, "gears": {"g": {**COST_DICT, "batch": [[2, 1.0], [1, 1.0]]}}},
        {"version": 1, "gears": {"g": {**COST_DICT, "batch": [[0, 1.0]]}}},
        {"version": 1, "gears": {"g": {**COST_DICT, "batch": []}}},
    ],
)
def test_anything_else_is_not_a_saved_model(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        LatencyModel.from_dict(values)


def test_an_unmeasured_gear_is_named() -> None:
    with pytest.raises(UnknownGear) as caught:
        LatencyModel({"4": COST}).step_ms("8", 1)
    assert caught.value.known == ("4",)


def test_batch_factor_grows_in_proportion_past_the_last_measured() -> None:
    assert COST.factor(1) == 1.0
    assert COST.factor(3) == pytest.approx(1.2)
    assert COST.factor(16) == pytest.approx(3.6)
    assert LatencyModel({"g": COST}).step_ms("g", 0, 16) > LatencyModel({"g": COST}).step_ms(
        "g", 0, 8
    )


def test_p99_is_above_p95_where_windows_are_full() -> None:
    rng = random.Random(1)
    model = LatencyModel({"g": GearCost(b_ms=1, q_ms=10)})
    model.observe_decode("g", 0, 1, [10 * math.exp(rng.gauss(0, 0.3)) for _ in range(4000)])
    assert model.decode_ms("g", 0, 8, quantile=P99) > model.decode_ms("g", 0, 8, quantile=P95)


def test_batches_that_the_profile_got_wrong_are_learned_by_their_size() -> None:
    # The profile says 20 times a single step for 8 rows; they take 6 times. Single rows in between
    # hold the machine where it is.
    model = LatencyModel({"4": GearCost(b_ms=0.1, q_ms=1.0, batch=((1, 1.0), (2, 1.0), (8, 20.0)))})
    for _ in range(200):
        model.observe_decode("4", 0, 8, [6.0] * 2)
        model.observe_decode("4", 0, 1, [1.0] * 2)
    assert model.step_ms("4", 0, 8) == pytest.approx(6.0, rel=0.15)
    assert model.step_ms("4", 0, 6) < 6.0
    assert model.step_ms("4", 0, 1) == pytest.approx(1.0, rel=0.15)
    assert model.step_ms("4", 0, 2) == pytest.approx(1.0, rel=0.15)


def test_short_chunks_do_not_widen_what_is_said_of_long_prompts() -> None:
    rng = random.Random(5)
    model = LatencyModel({"4": GearCost(b_ms=0.1, q_ms=1.0)})
    for _ in range(200):
        model.observe_prefill("4", 5, 0.5 * rng.choice((1.0, 1.0, 1.0, 4.0)))
        model.observe_prefill("4", 200, 20.0 * rng.uniform(0.98, 1.02))
    usual_ms = model.prefill_ms("4", 200, quantile=P50)
    assert usual_ms == pytest.approx(20.0, rel=0.2)
    assert model.prefill_ms("4", 200, quantile=P95) < 1.25 * usual_ms
    assert model.prefill_ms("4", 5, quantile=P95) > 2.0 * model.prefill_ms("4", 5, quantile=P50)


def test_a_gear_that_did_not_run_is_not_taken_for_quicker_than_a_cheaper_one() -> None:
    rng = random.Random(7)
    model = LatencyModel({"4": GearCost(b_ms=0.1, q_ms=1.0), "8": GearCost(b_ms=0.1, q_ms=1.3)})
    for _ in range(300):  # only the cheaper one runs, in an uneven time
        model.observe_decode("4", 0, 1, [rng.choice((1.0, 1.0, 1.0, 3.0))])
        model.observe_prefill("4", 100, 10.0 * rng.choice((1.0, 1.0, 1.0, 3.0)))
    for tokens in (1, 4, 8, 32, 100):
        assert model.decode_ms("8", 0, tokens) > model.decode_ms("4", 0, tokens)
        assert model.prefill_ms("8", tokens) >= model.prefill_ms("4", tokens)


def test_a_prompt_in_chunks_costs_what_they_do_and_is_as_uneven() -> None:
    fresh = LatencyModel({"g": COST})
    whole, cut = (fresh.prefill_ms("g", 100, chunks=n, quantile=P50) for n in (1, 4))
    assert cut - whole == pytest.approx(3 * COST.a_ms)
    rng = random.Random(6)
    model = LatencyModel({"4": GearCost(b_ms=0.1, q_ms=1.0)})
    for _ in range(200):
        model.observe_prefill("4", 5, 0.5 * rng.choice((1.0, 1.0, 1.0, 4.0)))
        model.observe_prefill("4", 200, 20.0 * rng.uniform(0.98, 1.02))
    ms = [model.prefill_ms("4", 200, chunks=40, quantile=q) for q in (P50, P95)]
    assert ms[1] > 2.0 * ms[0]


def test_steps_that_take_what_was_expected_teach_nothing() -> None:
    model = LatencyModel({"g": COST})
    before_ms = model.step_ms("g", 500, 8)
    model.observe_decode("g", 800, 8, [model.step_ms("g", 100 + i, 8) for i in range(64)])
    assert model.step_ms("g", 500, 8) == pytest.approx(before_ms, rel=1e-6)


def test_a_short_chunk_says_little_of_the_machine() -> None:
    model = LatencyModel({"4": GearCost(b_ms=0.1, q_ms=1.0)})
    for _ in range(10):
        model.observe_prefill("4", 5, 4 * 0.5)
    assert model.step_ms("4", 0) < 1.25
    for _ in range(10):
        model.observe_prefill("4", 200, 4 * 20.0)
    assert model.step_ms("4", 0) > 2.0


def test_the_margin_of_many_steps_is_less_than_all_of_theirs() -> None:
    model = LatencyModel({"g": GearCost(b_ms=1, q_ms=10.0)})
    margins = [model.decode_ms("g", 0, n) - n * 10.0 for n in (1, 8)]
    assert margins[1] == pytest.approx(math.sqrt(8) * margins[0])


def test_a_window_forgets_the_oldest_and_errs_upwards() -> None:
    window = Window()
    for i in range(20):
        window.add(float(i))
    assert window.tail(0.95, fitted=0.0) == 19.0
    assert window.tail(0.99, fitted=99.0) == 99.0  # of which twenty say too little
    assert window.tail(0.99, fitted=0.0) == 19.0
    for _ in range(256):
        window.add(1.0)
    assert window.tail(0.99, fitted=99.0) == window.tail(0.01, fitted=99.0) == 1.0


def test_a_horizon_is_held_against_what_was_expected_when_it_began() -> None:
    steps = Steps()
    for i in range(8 * 20):
        steps.add(2.0, 1.0, 2.0 if i % 8 else 1.0)
    assert steps.windows[1].tail(0.05, 0.0) == steps.windows[1].tail(0.95, 0.0) == 2.0


def test_doubt_takes_slowness_back_to_the_fit_and_no_further() -> None:
    slow, quick = LatencyModel({"g": COST}), LatencyModel({"g": COST})
    slow.start_at(2.0)
    slow.observe_decode("g", 100, 1, [40.0] * 50)
    quick.start_at(0.7)
    before = [slow.step_ms("g", 100), slow.prefill_ms("g", 64, quantile=P50)]
    for _ in range(100):
        slow.doubt()
        quick.doubt()
        after = [slow.step_ms("g", 100), slow.prefill_ms("g", 64, quantile=P50)]
        assert all(b <= a for a, b in zip(before, after, strict=True))
        before = after
    assert slow.step_ms("g", 100) == pytest.approx(12.4, rel=1e-3)
    assert slow.prefill_ms("g", 64, quantile=P50) == pytest.approx(2.0 + 0.3 * 64 + 4.096, rel=1e-3)
    assert quick.step_ms("g", 100) == pytest.approx(0.7 * 12.4)
