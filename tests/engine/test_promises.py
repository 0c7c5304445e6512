"""Under overload: what is accepted is answered in time, and nothing is spent on what is not."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import pytest
from fake_backend import FakeBackend, engine_over, jitter, prompt

from onesec.budget.latency import GearCost
from onesec.core.clock import FakeClock
from onesec.core.deadline import Budget
from onesec.core.errors import DeadlineInfeasible
from onesec.core.request import Request, SamplingParams
from onesec.engine.backlog import Lateness
from onesec.engine.engine import Engine
from onesec.engine.sequence import Sequence


def engine_of(seed: int, *, rows: int = 8) -> tuple[Engine, FakeBackend]:
    backend = FakeBackend(FakeClock(10**9), num_blocks=2000, noise=jitter(seed, 0.03))
    engine = engine_over(backend, prefix_cache=False, speculate=False, max_rows=rows)
    return engine, backend


def request(name: str, tokens: int, ms: float, *, limit: int = 20, arrival_ns: int = 0) -> Request:
    return Request(
        id=name,
        prompt_tokens=prompt(len(name), tokens),
        params=SamplingParams(max_tokens=limit),
        budget=Budget(total_ms=ms),
        arrival_ns=arrival_ns,
    )


def ask(
    engine: Engine, name: str, tokens: int, ms: float, *, limit: int = 20, arrival_ns: int = 0
) -> Sequence | None:
    """A request; None where it is refused."""
    try:
        return engine.add_request(request(name, tokens, ms, limit=limit, arrival_ns=arrival_ns))
    except DeadlineInfeasible:
        return None


def flood(
    seed: int, gap_ms: float, budgets_ms: tuple[float, float], count: int = 120
) -> tuple[Counter[str], Engine]:
    """Random requests, on average one in `gap_ms`, whatever becomes of those before."""
    rng = random.Random(seed)
    engine, backend = engine_of(seed)
    clock, told, accepted = backend.clock, Counter[str](), list[Sequence]()
    at_ns = clock.now_ns()
    for number in range(count):
        at_ns += round(rng.expovariate(1.0 / gap_ms) * 1e6)
        while engine.has_work and clock.now_ns() < at_ns:
            engine.step()
        clock.advance_ms(max(0, at_ns - clock.now_ns()) / 1e6)
        found = ask(
            engine,
            f"r{number}",
            rng.randint(8, 200),
            rng.uniform(*budgets_ms),
            limit=rng.randint(5, 60),
            arrival_ns=at_ns,
        )
        told["refused" if found is None else "accepted"] += 1
        if found is not None:
            accepted.append(found)
    while engine.has_work:
        engine.step()
    for sequence in accepted:
        trace = sequence.trace
        told["met" if trace.met else "late" if trace.answer_tokens else "empty"] += 1
    return told, engine


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("gap_ms", "share"), [(60.0, 1.0), (20.0, 0.98), (5.0, 0.9)])
@pytest.mark.parametrize("budgets_ms", [(500.0, 500.0), (150.0, 1500.0)])
def test_what_is_accepted_is_answered_in_time(
    seed: int, gap_ms: float, share: float, budgets_ms: tuple[float, float]
) -> None:
    told, engine = flood(seed, gap_ms, budgets_ms)
    assert told["accepted"] >= 40
    assert told["met"] >= share * told["accepted"]
    assert engine.running == engine.waiting == 0
    assert engine.kv_used_share == 0.0


def test_nobody_goes_before_a_promise_that_would_be_broken() -> None:
    engine, _ = engine_of(0, rows=2)
    with pytest.raises(DeadlineInfeasible) as refusal:
        engine.add_request(request("least", 200, 1.0))
    least_ms = refusal.value.feasible_ms
    patient = ask(engine, "patient", 200, least_ms + 4.0)
    assert patient is not None
    accepted = [patient]
    for number in range(20):  # each has 10 ms of work, and would go before the patient one
        one = ask(engine, f"urgent{number}", 200, least_ms + 3.0)
        if one is None:
            break
        accepted.append(one)
    with pytest.raises(DeadlineInfeasible, match="promised would be late") as refusal:
        engine.add_request(request("again", 200, least_ms + 3.0))
    assert refusal.value.feasible_ms > least_ms + 4.0  # behind it, that is
    behind = ask(engine, "behind", 200, refusal.value.feasible_ms + 10.0)
    assert behind is not None
    while engine.has_work:
        engine.step()
    assert all(sequence.trace.met for sequence in [*accepted, behind])


def test_a_row_is_waited_for() -> None:
    rows, ends = {}, {}
    for count in (2, 3):
        engine, _ = engine_of(0, rows=count)
        for name in ("one", "other"):
            assert ask(engine, name, 8, 400.0, limit=60) is not None
        for _ in range(4):
            engine.step()
        third = ask(engine, "third", 8, 5000.0, limit=60)
        assert third is not None
        rows[count] = third.foreseen[1]
        while engine.has_work:
            engine.step()
        ends[count] = third.trace.ttft_ms
    assert rows[3] < 30.0 < rows[2]  # no row is free before one of the others has ended
    assert ends[3] < 30.0 < ends[2]


def test_a_row_of_one_who_can_wait_is_not_waited_for() -> None:
    engine, _ = engine_of(0, rows=2)
    assert ask(engine, "one", 8, 400.0, limit=60) is not None
    patient = replace(request("patient", 8, 1.0, limit=60), budget=Budget())
    engine.add_request(patient)
    for _ in range(4):
        engine.step()
    third = ask(engine, "third", 8, 5000.0, limit=60)
    assert third is not None
    assert third.foreseen[1] < 30.0


def test_who_was_promised_nothing_may_be_overtaken() -> None:
    engine, _ = engine_of(0, rows=2)
    with pytest.raises(DeadlineInfeasible) as refusal:
        engine.add_request(request("least", 200, 1.0))
    least_ms = refusal.value.feasible_ms
    engine.add_request(replace(request("patient", 200, least_ms + 4.0), best_effort=True))
    number = 0
    while ask(engine, f"urgent{number}", 200, least_ms + 3.0) is not None:
        number += 1
    with pytest.raises(DeadlineInfeasible) as refusal:  # which has no time itself
        engine.add_request(request("again", 200, least_ms + 3.0))
    assert "promised" not in str(refusal.value)


def test_where_first_tokens_came_late_more_is_kept_for_those_before() -> None:
    waits = {}
    for factor in (1.0, 3.0):
        engine, _ = engine_of(0)
        engine._admission.lateness.factor = factor
        assert ask(engine, "first", 200, 5000.0) is not None  # 10 ms of a prompt
        second = ask(engine, "second", 200, 6000.0)
        assert second is not None
        waits[factor] = second.plan.first_ms
    assert waits[3.0] > waits[1.0] + 15.0


def test_lateness_is_learned_and_forgotten() -> None:
    lateness = Lateness()
    for _ in range(7):
        lateness.observe(10.0, 30.0)
    assert lateness.factor == 1.0  # too few
    lateness.observe(10.0, 30.0)
    assert lateness.factor == 3.0
    for _ in range(60):
        lateness.observe(10.0, 5.0)
    assert lateness.factor == 1.0  # what is early is no reason to promise more
    for _ in range(64):
        lateness.observe(0.0, 1e9)
    assert lateness.factor == 4.0


def test_lateness_is_learned_from_those_who_met_others_and_counts_from_their_plan() -> None:
    engine, _ = engine_of(0)
    sequence = ask(engine, "a", 8, 5000.0)
    assert sequence is not None
    sequence.foreseen = (100.0, 110.0)  # planned, and its first token, milliseconds after arrival
    for crossed, factor in ((False, 1.0), (True, 3.0)):
        sequence.crossed = crossed
        for _ in range(8):
            engine._admission.begun(sequence, sequence.arrival_ns + 130 * 10**6)
        assert engine._admission.lateness.factor == pytest.approx(factor)


def test_the_background_goes_behind_and_is_not_forgotten() -> None:
    engine, _ = engine_of(0, rows=2)
    order: list[str] = []
    for name, background in (("low", True), ("urgent low", True), ("usual", False)):
        ms = {"low": 900.0, "urgent low": 500.0, "usual": 2000.0}[name]
        engine.add_request(replace(request(name, 20, ms, limit=6), background=background))
    usual = replace(request("never", 20, 1.0, limit=6), budget=Budget())
    engine.add_request(usual)
    while engine.has_work:
        order += [delta.sequence_id for delta in engine.step() if delta.finished]
    assert set(order[:2]) == {"usual", "never"}
    assert set(order[2:]) == {"low", "urgent low"}


def test_a_usual_request_may_break_the_backgrounds_promise_which_ends_in_time() -> None:
    engine, backend = engine_of(0, rows=2)
    start_ns = backend.clock.now_ns()
    low = engine.add_request(replace(request("low", 200, 120.0), background=True))
    for number in range(6):
        assert ask(engine, f"usual{number}", 200, 1000.0, limit=60) is not None
    ends = {}
    while engine.has_work:
        for delta in engine.step():
            if delta.finished:
                ends[delta.sequence_id] = (backend.clock.now_ns() - start_ns) / 1e6
    assert not low.tokens  # dropped without any work
    assert low.trace.ending == "cut"
    assert ends["low"] < 150.0  # but told in time, though others were before it


def test_what_the_cache_holds_of_waiting_prompts_is_no_work_before_others() -> None:
    costs = {"4": GearCost(b_ms=1.0, q_ms=5.0)}
    backend = FakeBackend(
        FakeClock(10**9), num_blocks=512, context_length=512, eos_rate=0.0, costs=costs
    )
    engine = engine_over(backend, speculate=False)
    shared = prompt(1, 400)
    engine.add_request(
        Request(id="first", prompt_tokens=shared, params=SamplingParams(max_tokens=2))
    )
    while engine.has_work:
        engine.step()
    accepted = [
        engine.add_request(replace(request(str(i), 1, 600.0), prompt_tokens=(*shared, i + 1)))
        for i in range(5)
    ]
    while engine.has_work:
        engine.step()
    assert all(sequence.trace.met for sequence in accepted)


@pytest.mark.parametrize("ms", [530.0, 100.0])
def test_an_offer_puts_a_request_behind_those_that_it_would_have_made_late(ms: float) -> None:
    engine, _ = engine_of(0)
    words = SamplingParams(max_tokens=80, min_tokens=80)
    least = replace(request("least", 8, 1.0), params=words)
    with pytest.raises(DeadlineInfeasible) as refusal:
        engine.add_request(least)
    promised_ms = refusal.value.feasible_ms + 5.0
    promised = engine.add_request(
        replace(least, id="promised", budget=Budget(total_ms=promised_ms))
    )
    with pytest.raises(DeadlineInfeasible, match="promised would be late") as refusal:
        engine.add_request(request("urgent", 200, min(ms, promised_ms - 1.0), limit=4))
    assert refusal.value.feasible_ms >= promised_ms
    behind = ask(engine, "behind", 200, refusal.value.feasible_ms, limit=4)
    assert behind is not None
    while engine.has_work:
        engine.step()
    assert promised.trace.met
    assert behind.trace.met


@pytest.mark.parametrize(("which", "most_ms"), [("total_ms", 600.0), ("ttft_ms", 30.0)])
def test_what_is_offered_under_load_does_at_once(which: str, most_ms: float) -> None:
    offers = works = 0
    for seed in range(6):
        rng = random.Random(seed)
        engine, _ = engine_of(seed)
        for number in range(80):
            tokens, ms = rng.randint(8, 200), rng.uniform(20.0, most_ms)
            asked = request(f"r{number}", tokens, ms, limit=40)
            asked = replace(asked, budget=Budget(**{which: ms}))
            try:
                engine.add_request(asked)
            except DeadlineInfeasible as refusal:
                offers += 1
                again = Budget(**{which: refusal.feasible_ms})
                with suppress(DeadlineInfeasible):
                    engine.add_request(replace(asked, budget=again))
                    works += 1
            for _ in range(rng.randrange(4)):
                engine.step()
    assert offers > 100
    assert works >= 0.95 * offers


def test_the_background_takes_no_gear_from_a_usual_request() -> None:
    engine, _ = engine_of(0)
    engine.add_request(replace(request("low", 8, 5000.0), background=True))
    usual = ask(engine, "usual", 8, 5000.0)
    other = ask(engine, "other", 8, 5000.0)
    low = engine.add_request(replace(request("low too", 8, 5000.0), background=True))
    assert usual is not None
    assert other is not None
    assert [each.plan.gear for each in (usual, other, low)] == ["8", "4", "4"]
