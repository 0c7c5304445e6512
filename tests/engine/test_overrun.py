"""How late answers were that ended for want of time is kept back of the next budgets."""

from __future__ import annotations

import pytest
from fake_backend import FakeBackend, drain, engine_over, prompt

from onesec.budget.policy import POLICIES
from onesec.core.clock import FakeClock
from onesec.core.deadline import Budget
from onesec.core.errors import DeadlineInfeasible
from onesec.core.request import Request, SamplingParams
from onesec.engine.engine import Engine
from onesec.engine.overrun import Overrun
from onesec.engine.sequence import Sequence

BALANCED = POLICIES["balanced"]


def engine_here() -> Engine:
    backend = FakeBackend(FakeClock(10**9), num_blocks=400, eos_rate=0.0)
    return engine_over(backend, prefix_cache=False, speculate=False)


def ask(engine: Engine, name: str, ms: float | None) -> Sequence:
    return engine.add_request(
        Request(
            id=name,
            prompt_tokens=prompt(1, 10),
            params=SamplingParams(max_tokens=40),
            budget=Budget(total_ms=ms),
        )
    )


def span_ms(sequence: Sequence) -> float:
    assert sequence.end_ns is not None
    return (sequence.end_ns - sequence.arrival_ns) / 1e6


def late(overrun: Overrun, sequence: Sequence, ms: float, times: int = 1) -> None:
    assert sequence.end_ns is not None
    for _ in range(times):
        overrun.observe(sequence, sequence.end_ns + round(ms * 1e6))


def test_only_what_ended_for_want_of_time_is_counted() -> None:
    engine = engine_here()
    late(engine._overrun, ask(engine, "late", 500.0), 1.25, 128)
    kept_ms = engine._overrun.kept_ms(500.0, BALANCED)
    assert kept_ms > 0.0
    for i in range(130):
        engine.add_request(
            Request(
                id=f"short {i}",
                prompt_tokens=prompt(1, 10),
                params=SamplingParams(max_tokens=2),
                budget=Budget(total_ms=500.0),
            )
        )
    drain(engine)
    assert engine._overrun.kept_ms(500.0, BALANCED) == kept_ms


def test_what_is_kept_back_is_the_excess_within_bounds() -> None:
    overrun, sequence = Overrun(), ask(engine_here(), "a", 500.0)
    assert overrun.kept_ms(500.0, BALANCED) == 0.0
    late(overrun, sequence, -30.0, 100)  # it ended early: nothing was late
    late(overrun, sequence, 1.25)  # one of a hundred
    assert overrun.kept_ms(500.0, BALANCED) == 0.0
    late(overrun, sequence, 1.25, 4)
    assert overrun.kept_ms(500.0, BALANCED) == pytest.approx(1.25 - BALANCED.flush_ms)
    assert overrun.kept_ms(5.0, BALANCED) == pytest.approx(0.5)  # a tenth of the budget
    assert overrun.kept_ms(None, BALANCED) == 0.0
    late(overrun, sequence, 900.0, 10)
    assert overrun.kept_ms(500.0, BALANCED) == 2.0
    late(overrun, sequence, 0.0, 128)  # a quiet hour
    assert overrun.kept_ms(500.0, BALANCED) == 0.0


def test_an_answer_without_a_deadline_tells_nothing() -> None:
    overrun, sequence = Overrun(), ask(engine_here(), "a", None)
    overrun.observe(sequence, 10**18)
    assert overrun.kept_ms(500.0, BALANCED) == 0.0


def test_the_next_budgets_end_earlier_and_ask_for_more() -> None:
    engine = engine_here()
    first = ask(engine, "a", 500.0)
    drain(engine)
    with pytest.raises(DeadlineInfeasible) as before:
        ask(engine, "b", 1.0)
    late(engine._overrun, first, 1.5, 128)
    second = ask(engine, "c", 500.0)
    assert span_ms(second) == pytest.approx(span_ms(first) - 1.0)
    drain(engine)
    with pytest.raises(DeadlineInfeasible) as after:
        ask(engine, "d", 1.0)
    assert after.value.feasible_ms >= before.value.feasible_ms
    assert ask(engine, "e", before.value.feasible_ms + 1.0) is not None


def test_what_ends_early_is_not_late() -> None:
    engine = engine_here()
    sequence = ask(engine, "a", 60_000.0)
    drain(engine)
    assert sequence.ending == "cut"  # at max_tokens, long before its time
    assert engine._overrun.kept_ms(500.0, BALANCED) == 0.0


@pytest.mark.parametrize("more_ms", [0.6, 1.4, 5.0])
def test_an_offer_has_room_for_what_is_kept_back_of_it(more_ms: float) -> None:
    """Of a larger budget more may be kept back than of the one that was refused."""
    engine = engine_here()
    first = ask(engine, "first", 400.0)
    late(engine._overrun, first, BALANCED.flush_ms + more_ms, times=20)
    drain(engine)
    for number, tokens in enumerate((1, 2, 3, 5, 8)):

        def asked(ms: float, tokens: int = tokens, number: int = number) -> Sequence:
            return engine.add_request(
                Request(
                    id=f"{number}-{ms}",
                    prompt_tokens=prompt(2, 10),
                    params=SamplingParams(max_tokens=tokens),
                    budget=Budget(total_ms=ms),
                )
            )

        with pytest.raises(DeadlineInfeasible) as caught:
            asked(1.0)
        assert asked(caught.value.feasible_ms).trace.met is None
        drain(engine)
