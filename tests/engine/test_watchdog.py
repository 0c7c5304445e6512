"""Steps that hang: answers end in time all the same; nothing is lost, doubled or overwritten."""

import random
from collections.abc import Iterator
from itertools import repeat

import pytest
from fake_backend import COSTS, drain, engine_over, prompt
from hypothesis import given, settings
from hypothesis import strategies as st
from stalling_backend import StallingBackend

from onesec.budget.latency import P99, GearCost, LatencyModel
from onesec.core.clock import FakeClock
from onesec.core.deadline import Budget
from onesec.core.errors import DeadlineInfeasible, OneSecError
from onesec.core.request import Request, SamplingParams
from onesec.engine.engine import Engine
from onesec.engine.sequence import Sequence
from onesec.explain.sentences import explain

HANG_MS = 30_000.0


def stall_at(*steps: int, ms: float = HANG_MS) -> Iterator[float]:
    """Hangs in the steps of these numbers (from 0), counted over everything that is computed."""
    return (ms if i in steps else 0.0 for i in range(10_000))


def engine_with(
    stalls: Iterator[float] | None = None,
    *,
    engine: dict[str, object] | None = None,
    **options: object,
) -> tuple[Engine, StallingBackend]:
    backend = StallingBackend(
        FakeClock(10**9), stalls or repeat(0.0), **{"eos_rate": 0.0, **options}
    )
    made = engine_over(backend, **{"speculate": False, **(engine or {})})
    return made, backend


def ask(name: str, *, ms: float | None = None, seed: int = 1, **params: object) -> Request:
    return Request(
        id=name,
        prompt_tokens=prompt(seed, 10),
        params=SamplingParams(**{"max_tokens": 40, "temperature": 0.8, "seed": seed, **params}),  # type: ignore[arg-type]
        budget=Budget(total_ms=ms),
        gear="8",  # one gear: tokens do not tell of shifts
    )


def alone(request: Request, **options: object) -> list[int]:
    """The request's tokens in an engine of its own, where nothing hangs and time is plenty."""
    engine, _ = engine_with(**options)
    sequence = engine.add_request(
        Request(id="alone", prompt_tokens=request.prompt_tokens, params=request.params, gear="8")
    )
    drain(engine)
    return sequence.tokens


def stalls_of(sequence: Sequence) -> list[dict[str, object]]:
    return [event.detail for event in sequence.trace.events if event.kind == "stall"]


def test_an_answer_ends_in_time_though_a_step_hangs() -> None:
    engine, backend = engine_with(stall_at(7))
    sequence = engine.add_request(ask("a", ms=400.0))
    deltas = drain(engine)
    assert sequence.trace.met is True
    assert sequence.trace.elapsed_ms <= 400.0
    assert sequence.ending in ("landed", "cut")
    assert sequence.tokens == alone(ask("a"))[:7]  # what was done before the hang
    assert [token for delta in deltas for token in delta.tokens] == sequence.tokens
    [stall] = stalls_of(sequence)
    assert stall["token"] == 8
    assert stall["ms"] == pytest.approx(400.0 - 4.3 - 7 * 9.0, abs=10.0)
    assert any("was handed over without it" in line for line in explain(sequence.trace))
    assert explain(sequence.trace, "zh")[-3] != explain(sequence.trace)[-3]
    assert backend.left is not None  # it goes on


def test_steps_of_the_same_call_count_that_were_done() -> None:
    costs = {"8": COSTS["8"].__class__(b_ms=0.01, q_ms=0.3)}
    engine, backend = engine_with(stall_at(5), costs=costs)  # 0: the prompt; 1 to 8: one call
    sequence = engine.add_request(ask("a", ms=100.0))
    drain(engine)
    assert max(batch.max_steps for batch in backend.batches) == 1  # the fake runs them singly
    assert sequence.tokens == alone(ask("a"), costs=costs)[:5]
    assert sequence.trace.met is True


def test_a_prompt_that_hangs_ends_without_an_answer() -> None:
    engine, _ = engine_with(stall_at(0))
    sequence = engine.add_request(ask("a", ms=400.0))
    [delta] = drain(engine)
    assert delta.finished
    assert (sequence.tokens, sequence.ending, sequence.trace.met) == ([], "cut", False)
    assert sequence.trace.elapsed_ms <= 400.0


def test_only_what_is_due_ends_and_the_others_take_the_late_tokens_over() -> None:
    engine, backend = engine_with(stall_at(9))
    urgent = engine.add_request(ask("urgent", ms=600.0))
    patient = engine.add_request(ask("patient", seed=2, presence_penalty=0.5))
    later = engine.add_request(ask("later", seed=3, ms=HANG_MS + 2_000.0))
    drain(engine)
    assert urgent.trace.met is True
    assert urgent.tokens == alone(ask("urgent"))[: len(urgent.tokens)]
    assert patient.tokens == alone(ask("patient", seed=2, presence_penalty=0.5))
    assert later.tokens == alone(ask("later", seed=3))
    assert later.trace.met is True
    assert stalls_of(urgent)
    assert not stalls_of(patient)
    slowest = max(e.detail["slowest_ms"] for e in patient.trace.events if e.kind == "decode")
    assert slowest > HANG_MS
    assert engine._blocks.used_blocks == 0
    assert backend.left is None


def test_an_answer_stays_as_it_was_handed_over() -> None:
    engine, _ = engine_with(stall_at(9))
    urgent = engine.add_request(ask("urgent", ms=600.0))
    engine.add_request(ask("patient", seed=2))
    while not urgent.finished:
        engine.step()
    output, trace = urgent.output(), urgent.trace.to_dict()
    later = drain(engine)
    assert all(delta.sequence_id == "patient" for delta in later)
    assert urgent.output() == output
    assert urgent.trace.to_dict() == trace


@pytest.mark.parametrize("hang", range(6, 11))
@pytest.mark.parametrize("poison", range(6, 12))
def test_a_hang_amid_a_batch_that_is_run_row_by_row(hang: int, poison: int) -> None:
    engine, backend = engine_with(stall_at(hang))
    poisoned = iter([False] * poison + [True])  # rows, as they come
    backend.poison = lambda row: next(poisoned, False)
    sequences = [engine.add_request(ask(name, seed=i)) for i, name in enumerate("ab")]
    urgent = engine.add_request(ask("urgent", seed=3, ms=700.0))
    drain(engine)
    assert urgent.finished
    for sequence in sequences:
        expected = alone(sequence.request)
        assert sequence.tokens == expected[: len(sequence.tokens)]
        assert sequence.error is None or str(sequence.error) == "poisoned row"


def test_answers_end_deadline_by_deadline_while_a_step_hangs() -> None:
    engine, backend = engine_with(stall_at(20))
    sequences = [engine.add_request(ask(str(i), seed=i, ms=600.0 + 200.0 * i)) for i in range(4)]
    drain(engine)
    for i, sequence in enumerate(sequences):
        assert sequence.trace.met is True
        assert 550.0 + 190.0 * i < sequence.trace.elapsed_ms <= 600.0 + 200.0 * i
    assert backend.left is not None
    assert engine._blocks.used_blocks > 0  # held until the step has ended


@pytest.mark.parametrize("budget", [Budget(tpot_ms=40.0), Budget(total_ms=20_000.0, tpot_ms=40.0)])
def test_the_next_end_counts_whoever_is_served_first(budget: Budget) -> None:
    engine, _ = engine_with(stall_at(9))
    engine.add_request(Request(
        id="rhythm", prompt_tokens=prompt(1, 10), params=SamplingParams(max_tokens=40),
        budget=budget, gear="8",
    ))  # fmt: skip
    for _ in range(3):
        engine.step()
    due = engine.add_request(ask("due", seed=2, ms=600.0))
    drain(engine)
    assert due.trace.met is True
    assert due.trace.elapsed_ms <= 600.0


def test_who_arrives_while_a_step_hangs_is_heard_and_ends_in_time() -> None:
    """The floor is lent while the loop waits for the step; nobody else asks the backend then."""
    floor, heard = Floor(), []
    engine, backend = engine_with(stall_at(7), engine={"computing": floor})
    engine.add_request(ask("untimed"))
    first = engine.add_request(ask("a", seed=2, ms=200.0))
    while not first.finished:
        engine.step()
    rest = backend.rest

    def arriving(until_ns: int | None) -> object:
        assert floor.lent
        if not heard:
            backend.clock.advance_ms(50.0)
            heard.append(None)
            with pytest.raises(DeadlineInfeasible):
                engine.add_request(ask("soon", seed=3, ms=60.0))
            heard[0] = engine.add_request(ask("late", seed=3, ms=900.0))
        return rest(until_ns)

    backend.rest = arriving  # type: ignore[method-assign, assignment]
    while engine.has_work and not (heard and heard[0] and heard[0].finished):
        engine.step()
    assert heard[0].trace.elapsed_ms <= 900.0  # the step hangs on, yet it was handed over


class Floor:
    """Knows whether it is lent."""

    lent = False

    def __enter__(self) -> None:
        self.lent = True

    def __exit__(self, *_: object) -> None:
        self.lent = False


def test_blocks_are_held_until_the_step_has_ended() -> None:
    engine, _ = engine_with(stall_at(7), num_blocks=16)
    first = engine.add_request(ask("a", ms=400.0))
    drain(engine)
    assert first.finished
    held = engine._blocks.used_blocks
    assert held > 0
    second = engine.add_request(ask("b", seed=2))
    drain(engine)  # FakeBackend: a block in two hands gives other tokens
    assert second.tokens == alone(ask("b", seed=2))
    assert engine._blocks.used_blocks == 0


def test_a_request_that_meets_a_hanging_step_is_told_so() -> None:
    engine, backend = engine_with(stall_at(7))
    engine.add_request(ask("a", ms=1_000.0))
    drain(engine)
    with pytest.raises(DeadlineInfeasible) as refusal:  # late by nearly a second: as much again
        engine.add_request(ask("b", ms=800.0))
    assert refusal.value.feasible_ms > 900.0
    backend.clock.advance_ms(HANG_MS)  # nobody asked meanwhile, but it is over
    again = engine.add_request(ask("b", ms=800.0))
    drain(engine)
    assert again.trace.met is True
    assert again.tokens == alone(ask("b"))


def test_a_request_that_waits_for_a_hanging_step_in_vain_ends_in_time_too() -> None:
    engine, _ = engine_with(stall_at(7))
    engine.add_request(ask("a", ms=200.0))
    drain(engine)
    waiting = engine.add_request(ask("b", ms=1_000.0))
    drain(engine)
    assert waiting.trace.elapsed_ms <= 1_000.0
    assert (waiting.tokens, waiting.trace.met) == ([], False)


def test_abort_and_close_while_a_step_hangs() -> None:
    engine, backend = engine_with(stall_at(7))
    engine.add_request(ask("a", ms=400.0))
    other = engine.add_request(ask("b", seed=2))
    while backend.left is None:
        engine.step()
    held = engine._blocks.used_blocks
    assert engine.abort("b")
    assert engine._blocks.used_blocks == held
    assert not engine.has_work
    assert engine.step() == []  # does not wait for what nobody wants
    assert backend.left is not None
    assert not other.tokens[40:]
    engine.close()
    assert backend.closed


def test_an_error_of_a_step_that_was_left_ends_its_sequences() -> None:
    engine, backend = engine_with(stall_at(9))
    backend.raises = RuntimeError("lost")
    urgent = engine.add_request(ask("a", ms=600.0))
    other = engine.add_request(ask("b", seed=2))
    drain(engine)
    assert urgent.trace.met is True
    assert (other.finish_reason, str(other.error)) == ("error", "lost")
    after = engine.add_request(ask("c", seed=3))
    drain(engine)
    assert after.tokens == alone(ask("c", seed=3))


def test_a_hang_is_not_learned_as_a_step() -> None:
    engine, _ = engine_with(stall_at(9))
    before_ms = engine.latency.step_ms("8", 50)
    engine.add_request(ask("a"))
    drain(engine)
    assert engine.latency.step_ms("8", 50) < 1.15 * before_ms
    assert engine.latency.decode_ms("8", 50, 1, quantile=P99) < 10.0 * before_ms
    assert engine.latency.decode_ms("8", 50, 32) < 1.3 * 32 * before_ms


def test_a_machine_that_is_twice_as_slow_is_learned() -> None:
    model = LatencyModel(COSTS)
    usual_ms = model.step_ms("8", 50)
    model.observe_decode("8", 50, 1, [2.0 * usual_ms] * 64)
    assert model.step_ms("8", 50) == pytest.approx(2.0 * usual_ms, rel=0.05)


CHEAP_DRAFTS = {
    "4": GearCost(b_ms=0.05, q_ms=2.0, batch=((1, 1.0), (8, 1.2))),
    "8": GearCost(b_ms=0.06, q_ms=9.0, batch=((1, 1.0), (8, 1.2))),
}


@pytest.mark.parametrize("step", range(1, 12))
@pytest.mark.parametrize(("memory", "costs"), [(3, COSTS), (9, CHEAP_DRAFTS)])
def test_drafts_may_hang_too(step: int, memory: int, costs: dict[str, GearCost]) -> None:
    """Guesses and their checks: whichever forward hangs, the answer is the plain one's beginning,
    and the next one the plain one."""
    options: dict[str, object] = {"memory": memory, "costs": costs, "engine": {"speculate": True}}
    request = ask("a", ms=900.0, temperature=0.0, max_tokens=60)
    engine, backend = engine_with(stall_at(step), **options)
    first = engine.add_request(request)
    drain(engine)
    plain = alone(request, memory=memory, costs=costs)
    assert first.trace.met is True
    assert first.tokens == plain[: len(first.tokens)]
    trace = first.trace.to_dict()
    backend.clock.advance_ms(HANG_MS)
    second = engine.add_request(ask("b", temperature=0.0, max_tokens=60))
    drain(engine)
    assert second.tokens == plain
    assert first.trace.to_dict() == trace
    assert engine._blocks.used_blocks == 0


@pytest.mark.parametrize("step", range(3, 10))
def test_a_hang_begins_behind_the_guesses_that_were_made(step: int) -> None:
    options: dict[str, object] = {"memory": 9, "costs": CHEAP_DRAFTS, "engine": {"speculate": True}}
    engine, backend = engine_with(stall_at(step), **options)
    engine.add_request(ask("a", ms=900.0, temperature=0.0, max_tokens=60))
    while backend.left is None:
        engine.step()
    overdue, (_, end_ns, stall_ms) = engine._watchdog.overdue, backend.left
    assert overdue is not None
    assert overdue.since_ns == pytest.approx(end_ns - stall_ms * 1e6, abs=10)


@settings(max_examples=150)
@given(seed=st.integers(0, 10**6), num_blocks=st.integers(14, 48))
def test_whatever_hangs_answers_are_right_and_in_time(seed: int, num_blocks: int) -> None:
    rng = random.Random(seed)
    stalls = (rng.choice((20.0, 200.0, 3_000.0)) if rng.random() < 0.04 else 0.0 for _ in repeat(0))
    engine, backend = engine_with(
        stalls, num_blocks=num_blocks, engine={"speculate": bool(seed % 2)}
    )
    asked: list[Sequence] = []
    refused = 0
    for number in range(40):
        if number < 10:
            ms = rng.choice((None, 300.0, 700.0, 2_000.0))
            params = {"max_tokens": rng.randint(1, 30), "presence_penalty": rng.choice((0.0, 0.7))}
            try:
                asked.append(engine.add_request(ask(str(number), ms=ms, seed=number, **params)))
            except OneSecError:
                refused += 1
        if rng.random() < 0.1 and asked:
            engine.abort(rng.choice(asked).id)
        for _ in range(rng.randint(0, 6)):
            if engine.has_work:
                engine.step()
    drain(engine)
    engine.step()
    for sequence in asked:
        request = sequence.request
        expected = alone(request, num_blocks=64)
        assert sequence.tokens == expected[: len(sequence.tokens)]
        if sequence.finish_reason is None:  # aborted
            continue
        budget_ms = request.budget.total_ms
        if budget_ms is None:
            assert sequence.tokens == expected
        else:  # a step that does not hang may be late by itself, as anywhere
            assert sequence.trace.elapsed_ms <= budget_ms + 20.0
    assert len(asked) + refused == 10
    backend.clock.advance_ms(10_000.0)
    engine.step()
    assert engine._blocks.used_blocks == 0


def test_an_error_of_a_step_that_was_left_ends_the_guilty_one_alone() -> None:
    engine, backend = engine_with(stall_at(9))
    backend.raises = RuntimeError("lost")
    engine.add_request(ask("urgent", ms=600.0))
    guilty, other = (engine.add_request(ask(name, seed=i)) for i, name in ((2, "b"), (3, "c")))
    while backend.raises is not None:
        engine.step()
    backend.poison = lambda row: row.sampler is guilty.sampler
    drain(engine)
    assert str(guilty.error) == "poisoned row"
    assert other.error is None
    assert other.tokens == alone(ask("c", seed=3))
