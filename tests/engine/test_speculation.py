import random

import numpy as np
import pytest
from fake_backend import prompt
from hypothesis import given, settings
from hypothesis import strategies as st
from test_engine import ask, drain, engine_with

from onesec.backend.base import Batch, BatchResult
from onesec.budget.draft import MAX_MATCH
from onesec.budget.latency import GearCost
from onesec.core.errors import ModelError
from onesec.engine.sequence import Sequence
from onesec.engine.speculation import look_up


def naive(ids: list[int], count: int) -> tuple[list[int], int]:
    best, match = len(ids), 0
    for begin in range(1, len(ids)):
        alike = 0
        while alike < min(begin, MAX_MATCH) and ids[begin - 1 - alike] == ids[-1 - alike]:
            alike += 1
        if alike and alike >= match:
            best, match = begin, alike
    return ids[best : best + count], match


@given(ids=st.lists(st.integers(0, 3), min_size=1, max_size=40), count=st.integers(1, 7))
def test_lookup_finds_what_followed_where_most_was_alike(ids: list[int], count: int) -> None:
    tokens, match = look_up(np.array(ids, dtype=np.int32), count)
    assert (tokens.tolist(), match) == naive(ids, count)


def run(speculate: bool, seed: int, **backend: object) -> tuple[Sequence, int]:
    rng = random.Random(seed)
    engine, fake = engine_with(speculate=speculate, **backend)
    sequence = engine.add_request(
        ask(
            "a",
            prompt(seed, rng.randrange(1, 60)),
            params={
                "max_tokens": rng.randrange(5, 90),
                "temperature": rng.choice((0.0, 0.0, 0.8)),
                "seed": seed,
                "min_tokens": rng.choice((0, 5)),
                "logprobs": rng.choice((None, 2)),
                "stop": rng.choice(((), ("ab",), ("e",))),
            },
        )
    )
    drain(engine)
    assert sequence.error is None
    return sequence, len(fake.batches)


@settings(max_examples=150)
@given(seed=st.integers(0, 1 << 30), memory=st.sampled_from((None, 1, 2)))
def test_answers_are_the_same_with_and_without(seed: int, memory: int | None) -> None:
    with_it, _ = run(True, seed, memory=memory)
    without, _ = run(False, seed, memory=memory)
    assert with_it.tokens == without.tokens
    assert with_it.logprobs == without.logprobs
    assert with_it.top == without.top
    assert (with_it.finish_reason, with_it.stop_reason) == (
        without.finish_reason,
        without.stop_reason,
    )


def long_answer(**options: object) -> Sequence:
    engine, _ = engine_with(eos_rate=0.0, context_length=512, num_blocks=256, **options)
    sequence = engine.add_request(ask("a", prompt(3, 20), params={"max_tokens": 300}))
    drain(engine)
    return sequence


def test_text_that_repeats_itself_is_faster() -> None:
    fast, slow = long_answer(memory=2), long_answer(memory=2, speculate=False)
    assert fast.tokens == slow.tokens
    assert fast.ids[: fast.length].tolist() == [*fast.request.prompt_tokens, *fast.tokens]
    assert fast.trace.elapsed_ms < 0.5 * slow.trace.elapsed_ms
    assert fast.trace.accepted_tokens > 0.8 * fast.trace.drafted_tokens > 0


def test_a_cheap_gear_that_agrees_drafts() -> None:
    costs = {
        "4": GearCost(b_ms=0.05, q_ms=2.0, batch=((1, 1.0), (8, 1.2))),
        "8": GearCost(b_ms=0.06, q_ms=9.0, batch=((1, 1.0), (8, 1.2))),
    }
    # A memory of 9 tokens never repeats here, so that nothing can be looked up.
    fast = long_answer(memory=9, costs=costs)
    slow = long_answer(memory=9, costs=costs, speculate=False)
    assert fast.tokens == slow.tokens
    assert fast.trace.elapsed_ms < 0.7 * slow.trace.elapsed_ms


def test_a_cheap_gear_that_errs_ends_no_answer_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {
        "4": GearCost(b_ms=0.05, q_ms=2.0, batch=((1, 1.0), (8, 1.2))),
        "8": GearCost(b_ms=0.06, q_ms=9.0, batch=((1, 1.0), (8, 1.2))),
    }
    engine, fake = engine_with(memory=9, costs=costs, eos_rate=0.0)
    forward, asked = fake.forward, []

    def finite_at_8_bits_only(batch: Batch) -> BatchResult:
        if batch.gear.name == "4":
            asked.append(batch)
            raise ModelError("The model's logits are not finite.")
        return forward(batch)

    monkeypatch.setattr(fake, "forward", finite_at_8_bits_only)
    sequence = engine.add_request(ask("a", prompt(3, 20), gear="8", params={"max_tokens": 90}))
    drain(engine)
    assert asked
    assert sequence.error is None
    assert len(sequence.tokens) == 90


def test_guesses_that_fail_cost_little() -> None:
    with_it, without = long_answer(), long_answer(speculate=False)
    assert with_it.tokens == without.tokens
    assert with_it.trace.drafted_tokens > with_it.trace.accepted_tokens
    assert with_it.trace.elapsed_ms < 1.05 * without.trace.elapsed_ms


@pytest.mark.parametrize("memory", [None, 2])
def test_deadlines_are_kept(memory: int | None) -> None:
    for seed in range(40):
        engine, _ = engine_with(eos_rate=0.01, memory=memory, context_length=512, num_blocks=256)
        budget_ms = random.Random(seed).uniform(120.0, 900.0)
        sequence = engine.add_request(
            ask("a", prompt(seed, 40), ms=budget_ms, params={"max_tokens": 300})
        )
        drain(engine)
        assert sequence.trace.met is True


def test_a_batch_is_not_slowed_by_guesses() -> None:
    engine, fake = engine_with(memory=2)
    for i in range(3):
        engine.add_request(ask(str(i), prompt(i, 10)))
    while engine.running < 3:
        engine.step()
    fake.batches.clear()
    engine.step()
    assert all(len(row.tokens) == 1 for row in fake.batches[-1].rows)


def test_what_drafts_gained_is_forgotten_where_none_are_made() -> None:
    engine, _ = engine_with(memory=1, eos_rate=0.0, context_length=512, num_blocks=256)
    first = engine.add_request(ask("a", prompt(1, 20), params={"max_tokens": 300}))
    while len(first.tokens) < 100:
        engine.step()
    assert first.speed > 2.0
    engine.add_request(ask("b", prompt(2, 20), params={"max_tokens": 100}))
    for _ in range(30):
        engine.step()
    assert first.speed < 1.05
