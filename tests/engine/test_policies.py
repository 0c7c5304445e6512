"""What callers say beside a deadline: the policy, and budgets for the first and for each token."""

from __future__ import annotations

import math

import pytest
from fake_backend import FakeBackend, engine_over, jitter, prompt

from onesec.budget.policy import POLICIES, Policy
from onesec.core.clock import FakeClock
from onesec.core.deadline import Budget
from onesec.core.errors import DeadlineInfeasible
from onesec.core.request import PolicyName, Request, SamplingParams
from onesec.engine.dues import Dues
from onesec.engine.engine import Engine
from onesec.engine.sequence import Sequence


def engine_with(**options: object) -> Engine:
    backend = FakeBackend(FakeClock(10**9), eos_rate=0.0, **options)  # type: ignore[arg-type]
    return engine_over(backend)


def request(name: str, *, tokens: int = 30, words: int = 10, **values: object) -> Request:
    return Request(
        id=name,
        prompt_tokens=prompt(1, words),
        params=SamplingParams(max_tokens=tokens),
        **values,  # type: ignore[arg-type]
    )


def run(engine: Engine, *requests: Request) -> list[Sequence]:
    sequences = [engine.add_request(each) for each in requests]
    while engine.has_work:
        engine.step()
    return sequences


@pytest.mark.parametrize(
    ("policy", "min_gear", "gear"),
    [
        ("quality", None, "8"),
        ("balanced", None, "8"),
        ("fastest", None, "4"),
        ("fastest", "8", "8"),
    ],
)
def test_a_policy_means_something_without_a_deadline(
    policy: PolicyName, min_gear: str | None, gear: str
) -> None:
    (done,) = run(engine_with(), request("a", policy=policy, min_gear=min_gear))
    assert done.trace.gears == {gear: 30}
    assert done.trace.policy == policy


def test_an_explicit_gear_stands_above_the_policy() -> None:
    (done,) = run(engine_with(), request("a", policy="fastest", gear="8"))
    assert done.trace.gears == {"8": 30}


def test_policies_differ_under_the_same_deadline_and_all_keep_it() -> None:
    """Lengths are spread: four of five answers take 8 gears' time, the median far less."""
    better, elapsed = {}, {}
    for policy in POLICIES:
        engine = engine_with(noise=jitter(3))
        for number in range(200):
            engine.length.observe(20 if number % 10 < 7 else 60, ended=True)
        (done,) = run(engine, request("a", tokens=50, policy=policy, budget=Budget(total_ms=420.0)))
        assert done.trace.met
        assert len(done.tokens) == 50
        better[policy], elapsed[policy] = done.trace.gears.get("8", 0), done.trace.elapsed_ms
    assert better["quality"] > better["balanced"] > better["fastest"] == 0
    assert elapsed["fastest"] == min(elapsed.values())


# -- the first token, and each token ---------------------------------------------------------------


def test_prompt_and_answer_take_the_gears_that_their_budgets_allow() -> None:
    """Steps take 5 ms at 4 and 9 ms at 8, a prompt token 0.05 and 0.06 ms."""
    budget = Budget(ttft_ms=12.0, tpot_ms=12.0)
    (done,) = run(engine_with(), request("a", words=200, budget=budget))
    assert done.trace.gears == {"4": 1, "8": 29}
    assert done.trace.met
    assert 9.0 < (done.trace.tpot_ms or 0.0) <= 12.0
    (done,) = run(engine_with(), request("a", words=200, budget=Budget(tpot_ms=7.0)))
    assert done.trace.gears == {"4": 30}
    assert done.trace.met


def test_each_kind_of_budget_is_refused_by_its_name() -> None:
    engine = engine_with()
    for budget, which in (
        (Budget(total_ms=20.0), "total"),
        (Budget(ttft_ms=5.0), "ttft"),
        (Budget(tpot_ms=3.0), "tpot"),
    ):
        with pytest.raises(DeadlineInfeasible) as caught:
            engine.add_request(request("a", words=200, budget=budget))
        assert caught.value.which == which
    assert not engine.has_work


def test_what_is_judged_is_the_mean_over_the_tokens_after_the_first() -> None:
    noise = iter([1.0, *[1.0] * 20, 3.0, *[1.0] * 100])  # one step of 15 ms
    (done,) = run(
        engine_with(noise=lambda: next(noise)), request("a", gear="4", budget=Budget(tpot_ms=5.8))
    )
    trace = done.trace
    assert trace.ttft_ms is not None
    assert trace.tpot_ms == pytest.approx((trace.elapsed_ms - trace.ttft_ms) / 29)
    assert trace.met
    noise = iter([1.0, *[1.0] * 20, 9.0, *[1.0] * 100])
    (done,) = run(
        engine_with(noise=lambda: next(noise)), request("a", gear="4", budget=Budget(tpot_ms=5.8))
    )
    assert done.trace.met is False


def test_an_answer_of_one_token_keeps_any_rhythm() -> None:
    (done,) = run(engine_with(), request("a", tokens=1, budget=Budget(tpot_ms=6.0)))
    assert (done.trace.tpot_ms, done.trace.met) == (None, True)


def test_slower_steps_are_answered_by_a_cheaper_gear() -> None:
    """From token 40 on the machine is 1.6 times slower: 8 would take 14.6 ms a token, 4 takes 8."""
    taken = iter(range(10_000))
    engine = engine_with(noise=lambda: 1.6 if next(taken) > 40 else 1.0)
    (done,) = run(engine, request("a", tokens=200, budget=Budget(tpot_ms=11.0)))
    assert done.trace.gears["8"] > 30
    assert done.trace.gears["4"] > 100
    assert done.trace.met
    shifts = [event for event in done.trace.events if event.kind == "shift"]
    assert 1 <= len(shifts) <= 3
    assert all(math.isfinite(shift.detail["left_ms"]) for shift in shifts)


@pytest.mark.parametrize("tpot_ms", [6.5, 8.0, 20.0])
def test_long_prompts_of_others_do_not_break_a_rhythm(tpot_ms: float) -> None:
    engine = engine_with(num_blocks=400)
    first = engine.add_request(request("a", tokens=100, gear="4", budget=Budget(tpot_ms=tpot_ms)))
    while len(first.tokens) < 5:
        engine.step()
    others = [engine.add_request(request(f"b{i}", tokens=2, words=240)) for i in range(3)]
    while engine.has_work:
        engine.step()
    assert first.trace.met
    assert all(other.finish_reason == "length" for other in others)


@pytest.mark.parametrize(("count", "words"), [(10, 240), (14, 200)])
def test_many_prompts_together_do_not_break_a_rhythm_either(count: int, words: int) -> None:
    engine = engine_with(num_blocks=900)
    budget = Budget(tpot_ms=6.5)
    first = engine.add_request(request("a", tokens=150, gear="4", budget=budget))
    while len(first.tokens) < 5:
        engine.step()
    for i in range(count):
        engine.add_request(request(f"b{i}", tokens=2, words=words))
    while engine.has_work:
        engine.step()
    assert first.trace.met


def test_without_a_rhythm_the_same_prompts_would_have_broken_it() -> None:
    engine = engine_with(num_blocks=400)
    first = engine.add_request(request("a", tokens=100, gear="4"))
    while len(first.tokens) < 5:
        engine.step()
    for i in range(3):
        engine.add_request(request(f"b{i}", tokens=2, words=240))
    while engine.has_work:
        engine.step()
    assert first.trace.tpot_ms is not None
    assert first.trace.tpot_ms > 5.6


def test_the_prompt_of_a_first_token_budget_goes_before_background_work() -> None:
    engine = engine_with(num_blocks=400)
    long = engine.add_request(request("long", words=250))
    soon = engine.add_request(request("soon", words=100, budget=Budget(ttft_ms=40.0)))
    while engine.has_work:
        engine.step()
    assert soon.trace.met
    assert soon.trace.ttft_ms is not None
    assert long.trace.ttft_ms is not None
    assert soon.trace.ttft_ms < long.trace.ttft_ms


@pytest.mark.parametrize("tpot_ms", [0.01, 4.0])
def test_a_rhythm_that_is_lost_stops_nobodys_prompt(tpot_ms: float) -> None:
    engine = engine_with(num_blocks=1024, context_length=1024)
    lost, other = (
        request("lost", tokens=300, budget=Budget(tpot_ms=tpot_ms), best_effort=True),
        request("other", words=400, budget=Budget(total_ms=400.0)),
    )
    engine.add_request(lost)
    for _ in range(3):
        engine.step()
    (done,) = run(engine, other)
    assert done.trace.met
    assert len(done.tokens) == 30


def test_who_joins_a_batch_of_its_gear_does_not_wait_for_it() -> None:
    engine = engine_with()
    other = engine.add_request(request("other", gear="8", budget=Budget(total_ms=60_000.0)))
    while not other.tokens:
        engine.step()
    joined = engine.add_request(request("joined", budget=Budget(tpot_ms=16.0)))
    assert joined.plan.gear == "8"  # in 4 a token would wait for the other's, too


@pytest.mark.parametrize("ms", [130.0 + 1.7 * i for i in range(10)])
def test_a_last_step_does_not_wait_for_a_rhythm(ms: float) -> None:
    engine = engine_with(num_blocks=400)
    first = engine.add_request(request("a", tokens=100, gear="8", budget=Budget(tpot_ms=20.0)))
    while not first.tokens:
        engine.step()
    other = engine.add_request(request("b", tokens=100, gear="4", budget=Budget(total_ms=ms)))
    while engine.has_work:
        engine.step()
    assert other.trace.elapsed_ms <= ms
    assert other.trace.met
    assert first.trace.met


def test_a_rhythm_that_is_lost_does_not_stop_the_background() -> None:
    engine = engine_with(noise=lambda: 3.0, num_blocks=400)
    budget = Budget(tpot_ms=6.0)
    lost = engine.add_request(request("lost", tokens=200, gear="4", budget=budget))
    beside = engine.add_request(request("beside", gear="8"))
    while not lost.finished:
        engine.step()
    assert lost.trace.met is False
    assert beside.finished


def test_what_is_owed_next() -> None:
    ms, exact = 10**6, Policy(flush_ms=0.0, margin_share=0.0)
    dues = Dues.of(Budget(total_ms=1000.0, ttft_ms=100.0, tpot_ms=5.0), exact, 0)
    assert (dues.urgency, dues.next_ns(0)) == (100 * ms, None)
    dues.begin(80 * ms)
    assert (dues.urgency, dues.next_ns(1), dues.first_ns) == (80 * ms, 85 * ms, None)
