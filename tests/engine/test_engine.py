import math
import random

import numpy as np
import pytest
from fake_backend import (
    ALPHABET,
    COSTS,
    EOS,
    FakeBackend,
    decode_text,
    drain,
    engine_over,
    jitter,
    prompt,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from onesec.backend.base import BatchRow
from onesec.budget.latency import GearCost
from onesec.core.clock import FakeClock
from onesec.core.deadline import Budget
from onesec.core.errors import (
    ContextLengthExceeded,
    DeadlineInfeasible,
    EmptyPrompt,
    EngineClosed,
    InvalidRequest,
    QueueFull,
    UnknownGear,
)
from onesec.core.gear import UNIFORM
from onesec.core.request import Request, SamplingParams
from onesec.engine.engine import Engine
from onesec.engine.sequence import Delta, Force, Sequence
from onesec.engine.speculation import Draft
from onesec.explain.check import check


def engine_with(**options: object) -> tuple[Engine, FakeBackend]:
    backend_options = {
        name: options.pop(name)
        for name in (
            "num_blocks",
            "block_size",
            "context_length",
            "eos_rate",
            "noise",
            "costs",
            "memory",
        )
        if name in options
    }
    backend = FakeBackend(FakeClock(10**9), **backend_options)  # type: ignore[arg-type]
    return engine_over(backend, **options), backend


def ask(
    name: str, tokens: tuple[int, ...], *, ms: float | None = None, **values: object
) -> Request:
    params = {"max_tokens": 30, **values.pop("params", {})}  # type: ignore[dict-item]
    return Request(
        id=name,
        prompt_tokens=tokens,
        params=SamplingParams(**params),
        budget=Budget(total_ms=ms),
        **values,  # type: ignore[arg-type]
    )


def answer(request: Request, **options: object) -> tuple[int, ...]:
    """The request's answer when it is alone in a fresh engine."""
    engine, _ = engine_with(**options)
    sequence = engine.add_request(request)
    drain(engine)
    return tuple(sequence.tokens)


# -- the plain path ------------------------------------------------------------------------------


def test_an_answer_comes_in_deltas_that_add_up() -> None:
    engine, backend = engine_with()
    sequence = engine.add_request(ask("a", prompt(1, 10), params={"logprobs": 2}))
    deltas = drain(engine)
    output = sequence.output()
    assert [t for d in deltas for t in d.tokens] == list(output.tokens)
    assert [x for d in deltas for x in d.logprobs] == list(output.logprobs)
    assert len(output.logprobs) == len(output.entropies) == len(output.top) == len(output.tokens)
    assert EOS not in output.tokens
    assert [d.finished for d in deltas] == [False] * (len(deltas) - 1) + [True]
    last = deltas[-1]
    assert (last.finish_reason, last.ending) == (output.finish_reason, output.ending)
    assert last.trace is output.trace
    assert engine._blocks.used_blocks == 0
    assert not engine.has_work
    assert backend.batches[0].rows[0] is sequence.row


def test_steps_are_run_together_when_nothing_needs_attention() -> None:
    costs = {"8": COSTS["8"].__class__(b_ms=0.01, q_ms=0.3)}
    engine, backend = engine_with(eos_rate=0.0, costs=costs)
    sequence = engine.add_request(ask("a", prompt(1, 10)))
    drain(engine)
    assert [b.max_steps for b in backend.batches] == [1, 8, 8, 8, 5]
    assert len(sequence.tokens) == 30
    assert sequence.tokens == list(
        answer(ask("a", prompt(1, 10)), eos_rate=0.0, costs=costs, max_steps=1)
    )


def test_the_trace_tells_the_story() -> None:
    engine, backend = engine_with(eos_rate=0.0)
    sequence = engine.add_request(ask("a", prompt(1, 10), ms=800.0))
    drain(engine)
    trace = sequence.trace
    kinds = [event.kind for event in trace.events]
    assert kinds[:2] == ["plan", "prefill"]
    assert kinds[-1] == "stop"
    assert "decode" in kinds
    assert len(kinds) < 12
    assert trace.met is True
    assert trace.budget_ms == 800.0
    assert trace.ttft_ms is not None
    assert 0.0 < trace.ttft_ms < trace.elapsed_ms < 800.0
    assert trace.answer_tokens == sum(trace.gears.values()) == 30
    assert trace.prompt_tokens == 10
    assert trace.cpu_ms > trace.elapsed_ms
    assert trace.bytes_read > 0
    assert trace.peak_kv_bytes == math.ceil(39 / 4) * backend.kv_block_bytes
    assert trace.predicted_ms == pytest.approx(trace.elapsed_ms, rel=0.35)
    decoded = sum(event.detail["tokens"] for event in trace.events if event.kind == "decode")
    assert decoded == 29  # the first token came with the prompt


def test_prompt_logprobs_cover_every_token_but_the_first() -> None:
    for chunk in (3, 512):
        engine, _ = engine_with(chunk_tokens=chunk)
        tokens = prompt(3, 20)
        engine.add_request(ask("cached", tokens))
        drain(engine)
        sequence = engine.add_request(ask("a", tokens, params={"prompt_logprobs": True}))
        drain(engine)
        assert sequence.prompt_logprobs == [-float(t) for t in tokens[1:]]


def test_stop_strings_end_the_answer_and_hold_text_back() -> None:
    free = decode_text(answer(ask("a", prompt(5, 9)), eos_rate=0.0))
    engine, _ = engine_with(eos_rate=0.0)
    stop = free[10:13]
    sequence = engine.add_request(ask("a", prompt(5, 9), params={"stop": (stop,)}))
    deltas = drain(engine)
    position = free.find(stop)
    assert deltas[-1].text_chars == position
    assert (sequence.finish_reason, sequence.stop_reason) == ("stop", stop)
    assert sequence.ending == "natural"
    shown = [d.text_chars for d in deltas]
    assert shown == sorted(shown)


# -- refusals ------------------------------------------------------------------------------------


def test_wrong_requests_are_refused_before_any_work() -> None:
    engine, backend = engine_with(max_waiting=1, max_rows=1)
    with pytest.raises(EmptyPrompt):
        engine.add_request(ask("a", ()))
    with pytest.raises(ContextLengthExceeded) as caught:
        engine.add_request(ask("a", prompt(1, 256)))
    assert caught.value.context_length == 256
    with pytest.raises(UnknownGear):
        engine.add_request(ask("a", (1,), gear="16"))
    with pytest.raises(UnknownGear):
        engine.add_request(ask("a", (1,), min_gear="16"))
    with pytest.raises(InvalidRequest, match="below min_gear"):
        engine.add_request(ask("a", (1,), gear="4", min_gear="8"))
    with pytest.raises(InvalidRequest, match="prompt has token 30"):
        engine.add_request(ask("a", (len(ALPHABET),)))
    with pytest.raises(InvalidRequest, match="prompt has token -1"):
        engine.add_request(ask("a", (-1,)))
    engine.add_request(ask("a", (1,)))
    with pytest.raises(InvalidRequest, match="in use"):
        engine.add_request(ask("a", (1,)))
    engine.add_request(ask("b", (1,)))
    with pytest.raises(QueueFull):
        engine.add_request(ask("c", (1,)))
    assert backend.batches == []
    drain(engine)


def test_a_closed_engine_says_so() -> None:
    engine, backend = engine_with()
    engine.add_request(ask("a", (1,)))
    engine.close()
    engine.close()
    assert backend.closed
    assert not engine.has_work
    with pytest.raises(EngineClosed):
        engine.step()
    with pytest.raises(EngineClosed):
        engine.add_request(ask("b", (1,)))


def test_an_infeasible_budget_gets_an_offer_that_is_then_kept() -> None:
    engine, backend = engine_with(eos_rate=0.0)
    with pytest.raises(DeadlineInfeasible) as caught:
        engine.add_request(ask("a", prompt(1, 100), ms=20.0))
    assert backend.batches == []
    sequence = engine.add_request(ask("a", prompt(1, 100), ms=caught.value.feasible_ms))
    drain(engine)
    assert sequence.trace.met is True
    assert len(sequence.tokens) >= 8


@given(st.integers(1, 150), st.integers(0, 12), st.integers(1, 40), st.booleans())
@settings(max_examples=60, deadline=None)
def test_offers_are_kept_beside_other_work(
    length: int, others: int, limit: int, timed: bool
) -> None:
    engine, _ = engine_with(num_blocks=512, eos_rate=0.0)
    for i in range(others):
        engine.add_request(ask(f"o{i}", prompt(i, 20), ms=5000.0 if timed else None))
    for _ in range(others):
        engine.step()
    with pytest.raises(DeadlineInfeasible) as caught:
        engine.add_request(ask("a", prompt(99, length), ms=0.5, params={"max_tokens": limit}))
    sequence = engine.add_request(
        ask("a", prompt(99, length), ms=caught.value.feasible_ms, params={"max_tokens": limit})
    )
    drain(engine)
    assert sequence.trace.met is True
    assert len(sequence.tokens) >= 1


# -- determinism ---------------------------------------------------------------------------------

CROWD = st.lists(
    st.tuples(
        st.integers(0, 5),  # prompt family: prompts share prefixes
        st.integers(1, 40),  # prompt length
        st.integers(1, 25),  # max_tokens
        st.integers(0, 6),  # turns before the next arrival
        st.sampled_from(["4", "8", None]),
        st.sampled_from([0.0, 0.8]),
    ),
    min_size=1,
    max_size=12,
)


@given(
    CROWD,
    st.sampled_from([3, 8, 512]),
    st.sampled_from([18, 24, 64]),
    st.sampled_from([1, 2, 16]),
    st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_answers_do_not_depend_on_the_crowd(
    crowd: list[tuple[int, int, int, int, str | None, float]],
    chunk: int,
    num_blocks: int,
    max_rows: int,
    caching: bool,
) -> None:
    """Alone or among others, with or without the prefix cache, in any chunks, after preemption."""
    engine, _ = engine_with(
        num_blocks=num_blocks, chunk_tokens=chunk, max_rows=max_rows, prefix_cache=caching,
        context_length=72,
    )  # fmt: skip
    sequences: list[Sequence] = []
    for i, (family, length, limit, turns, gear, temperature) in enumerate(crowd):
        params = {"max_tokens": limit, "temperature": temperature, "seed": i}
        # Far deadlines order the sequences without binding any of them.
        ms = 500_000.0 + 1000.0 * random.Random(i).randrange(50) if gear is None else None
        request = ask(str(i), prompt(family, 40)[:length], params=params, gear=gear or "8", ms=ms)
        sequences.append(engine.add_request(request))
        for _ in range(turns):
            engine.step()
    drain(engine)
    assert engine._blocks.used_blocks == 0
    assert engine._blocks.free_blocks == num_blocks
    for sequence in sequences:
        alone = answer(sequence.request, context_length=72, prefix_cache=False)
        assert tuple(sequence.tokens) == alone


def test_preemption_computes_the_answer_again_in_the_decode_arithmetic() -> None:
    engine, backend = engine_with(num_blocks=10, eos_rate=0.0, prefix_cache=False)
    late = engine.add_request(ask("late", prompt(1, 12), params={"max_tokens": 20}))
    for _ in range(12):
        engine.step()
    assert late.state == "decoding"
    urgent = engine.add_request(
        ask("urgent", prompt(2, 12), params={"max_tokens": 20}, ms=100_000.0, gear="8")
    )
    states = set()
    while not urgent.finished:
        engine.step()
        states.add(late.state)
    assert "waiting" in states
    drain(engine)
    assert any(batch.exact for batch in backend.batches)
    assert tuple(late.tokens) == answer(late.request, eos_rate=0.0)
    assert (late.trace.preemptions, urgent.trace.preemptions) == (1, 0)


def test_an_answer_that_gave_way_keeps_its_plan() -> None:
    engine, _ = engine_with(num_blocks=10, eos_rate=0.0, prefix_cache=False)
    params = {"max_tokens": 20}
    late = engine.add_request(ask("late", prompt(1, 12), ms=500_000.0, params=params))
    for _ in range(12):
        engine.step()
    engine.add_request(ask("urgent", prompt(2, 12), ms=100_000.0, params=params))
    drain(engine)
    assert late.trace.preemptions == 1
    assert [event.kind for event in late.trace.events].count("plan") == 1


def test_a_prompt_of_which_all_tokens_are_wanted_is_read_whole() -> None:
    engine, _ = engine_with()
    assert engine._admission.names(ask("a", prompt(1, 40)))
    for params in ({"pooled": True}, {"prompt_logprobs": True}):
        assert not engine._admission.names(ask("a", prompt(1, 40), params=params))


def test_a_shared_prefix_is_not_computed_twice() -> None:
    engine, backend = engine_with()
    first = engine.add_request(ask("a", prompt(1, 40)))
    drain(engine)
    backend.batches.clear()
    second = engine.add_request(ask("b", prompt(1, 40)))
    drain(engine)
    assert second.tokens == first.tokens
    assert second.trace.cached_tokens == 36
    third = engine.add_request(ask("c", prompt(1, 40), metadata={"cache_salt": "tenant"}))
    drain(engine)
    assert third.trace.cached_tokens == 0


# -- time ----------------------------------------------------------------------------------------


def shown_chars(deltas: list[Delta]) -> int:
    """Characters that a client was shown; None in a delta is all that there was."""
    tokens: list[int] = []
    shown = 0
    for delta in deltas:
        tokens += delta.tokens
        told = delta.text_chars
        shown = max(shown, len(decode_text(tokens)) if told is None else told)
    return shown


@pytest.mark.parametrize("ms", [50.0, 80.0, 200.0, 400.0, 1000.0])
@pytest.mark.parametrize("stream", [False, True])
def test_a_deadline_is_kept_and_the_ending_is_told(ms: float, stream: bool) -> None:
    for seed in range(30):
        engine, _ = engine_with(eos_rate=0.0, noise=jitter(seed), context_length=512,
                                num_blocks=200)  # fmt: skip
        sequence = engine.add_request(
            ask("a", prompt(seed, 12), ms=ms, params={"max_tokens": 400}), stream=stream
        )
        deltas = drain(engine)
        assert sequence.trace.met is True, sequence.trace
        text = decode_text(sequence.tokens)
        if sequence.ending == "landed":
            assert sequence.finish_reason == "stop"
            end = deltas[-1].text_chars
            assert text[:end].rstrip()[-1] in ".。"
            if stream:  # nothing that was shown is taken back
                assert end is None or end >= shown_chars(deltas[:-1])
        else:
            assert (sequence.ending, sequence.finish_reason) == ("cut", "length")
        assert sequence.stop_reason == "deadline"


def test_more_time_gives_a_better_gear() -> None:
    share = []
    for ms in (120.0, 400.0, 1200.0, 4000.0):
        engine, _ = engine_with(eos_rate=0.02, context_length=512, num_blocks=200)
        best = total = 0
        for seed in range(20):
            sequence = engine.add_request(
                ask(str(seed), prompt(seed, 12), ms=ms, params={"max_tokens": 200})
            )
            drain(engine)
            best += sequence.trace.gears.get("8", 0)
            total += sum(sequence.trace.gears.values())
        share.append(best / total)
    assert share == sorted(share)
    assert share[0] < 0.2
    assert share[-1] > 0.9


def test_a_stall_is_absorbed_by_shifting_down() -> None:
    stall = {"at": 12, "count": 0}

    def noise() -> float:
        stall["count"] += 1
        return 23.0 if stall["count"] == stall["at"] else 1.0  # once, about 200 ms

    engine, _ = engine_with(eos_rate=0.0, noise=noise)
    sequence = engine.add_request(ask("a", prompt(1, 10), ms=480.0))
    drain(engine)
    assert sequence.trace.met is True
    assert len(sequence.tokens) == 30
    shifts = [event for event in sequence.trace.events if event.kind == "shift"]
    assert [event.detail["gear"] for event in shifts][:1] == ["4"]


def test_work_that_is_out_of_time_is_dropped_without_being_computed() -> None:
    engine, backend = engine_with()
    waiting = engine.add_request(ask("a", prompt(1, 40), ms=60.0))
    backend.clock.advance_ms(61.0)
    [delta] = engine.step()
    assert (delta.finish_reason, delta.ending, delta.tokens) == ("length", "cut", [])
    assert waiting.trace.met is False
    assert backend.batches == []


def test_budgets_run_from_arrival() -> None:
    engine, backend = engine_with()
    backend.clock.advance_ms(500.0)
    late = ask("a", prompt(1, 10), ms=400.0, arrival_ns=10**9)
    with pytest.raises(DeadlineInfeasible) as caught:
        engine.add_request(late)
    assert caught.value.feasible_ms > 500.0


@given(
    st.lists(
        st.tuples(st.integers(1, 60), st.integers(1, 60), st.floats(60.0, 900.0),
                  st.floats(0.0, 60.0), st.booleans()),
        min_size=1, max_size=14,
    ),
    st.integers(0, 10**6),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_accepted_requests_overrun_by_no_more_than_a_step(
    arrivals: list[tuple[int, int, float, float, bool]], seed: int
) -> None:
    """Random arrivals on a machine with a little noise: whatever was accepted ends in time, give or
    take the longest call in the turn."""
    engine, backend = engine_with(num_blocks=400, noise=jitter(seed, 0.01), chunk_tokens=32)
    sequences = []
    longest = 9.0 * 2.0 + 0.06 * 32 + 0.5 + 5.0 * 2.0  # one turn: both gears and a chunk
    for i, (length, limit, ms, gap_ms, timed) in enumerate(arrivals):
        try:
            request = ask(str(i), prompt(i, length), ms=ms if timed else None,
                          params={"max_tokens": limit})  # fmt: skip
            sequences.append(engine.add_request(request))
        except DeadlineInfeasible:
            pass
        end_ns = backend.clock.now_ns() + int(gap_ms * 1e6)
        while backend.clock.now_ns() < end_ns:
            if not engine.has_work:
                backend.clock.advance_ms((end_ns - backend.clock.now_ns()) / 1e6)
                break
            engine.step()
    drain(engine)
    for sequence in sequences:
        trace = sequence.trace
        if trace.budget_ms is not None:
            assert trace.elapsed_ms <= trace.budget_ms + longest


# -- faults --------------------------------------------------------------------------------------


def test_a_poisoned_request_ends_alone() -> None:
    for where in ("prompt", "answer"):
        engine, backend = engine_with(eos_rate=0.0)
        good = [engine.add_request(ask(f"g{i}", prompt(i, 10))) for i in range(3)]
        bad = engine.add_request(ask("bad", prompt(9, 10)))
        start = 0 if where == "prompt" else 15
        backend.poison = lambda row, s=start, b=bad: row is b.row and row.start >= s
        deltas = drain(engine)
        [last] = [d for d in deltas if d.sequence_id == "bad" and d.finished]
        assert last.finish_reason == "error"
        assert isinstance(last.error, RuntimeError)
        for sequence in good:
            assert sequence.finish_reason == "length"
            assert tuple(sequence.tokens) == answer(sequence.request, eos_rate=0.0)
        assert engine._blocks.used_blocks == 0


def test_a_failing_decoder_ends_only_the_request_that_needs_text() -> None:
    backend = FakeBackend(FakeClock(10**9), eos_rate=0.0)

    def broken(ids: object) -> str:
        raise RuntimeError("no text")

    engine = Engine(backend, backend.clock, latency=backend.latency(), eos_ids=(EOS,),
                    decode_text=broken)  # fmt: skip
    plain = engine.add_request(ask("a", prompt(1, 5)))
    text = engine.add_request(ask("b", prompt(2, 5), params={"stop": ("x",)}))
    landing = engine.add_request(ask("c", prompt(3, 5), ms=100.0))
    drain(engine)
    assert plain.finish_reason == "length"
    assert text.finish_reason == landing.finish_reason == "error"
    assert landing.trace.met is False  # though it ended in time
    assert engine._blocks.used_blocks == 0


def test_abort_frees_at_once() -> None:
    engine, _ = engine_with()
    engine.add_request(ask("a", prompt(1, 10)))
    engine.add_request(ask("b", prompt(2, 10)))
    engine.step()
    assert engine.abort("a")
    assert not engine.abort("a")
    assert not engine.abort("never")
    assert all(d.sequence_id == "b" for d in drain(engine))
    assert engine._blocks.used_blocks == 0


def test_abort_while_waiting() -> None:
    engine, _ = engine_with(max_rows=1)
    engine.add_request(ask("a", prompt(1, 10)))
    engine.add_request(ask("b", prompt(2, 10)))
    engine.step()
    assert engine.waiting == 1
    assert engine.abort("b")
    assert engine.waiting == 0
    drain(engine)


@given(st.integers(0, 2**16), st.sampled_from([0.02, 0.3]), st.floats(120.0, 700.0))
@settings(max_examples=60)
def test_every_shift_has_a_cause_in_its_numbers(seed: int, spread: float, ms: float) -> None:
    engine, _ = engine_with(eos_rate=0.02, noise=jitter(seed, spread))
    try:
        sequence = engine.add_request(ask("a", prompt(seed, 10), ms=ms, params={"max_tokens": 60}))
    except DeadlineInfeasible:
        return
    drain(engine)
    order = ["4", "8"]
    for event in sequence.trace.events:
        if event.kind != "shift":
            continue
        numbers = event.detail
        if order.index(numbers["gear"]) < order.index(numbers["was"]):
            assert numbers["need_ms"] > numbers["left_ms"]
        else:
            assert numbers["need_there_ms"] <= numbers["left_ms"]


def test_segments_tell_what_was_expected_and_the_slowest_step() -> None:
    calls = {"count": 0}

    def noise() -> float:
        calls["count"] += 1
        return 5.0 if calls["count"] == 6 else 1.0

    engine, _ = engine_with(eos_rate=0.0, noise=noise, speculate=False)
    sequence = engine.add_request(ask("a", prompt(1, 10)))
    drain(engine)
    (segment,) = [e.detail for e in sequence.trace.events if e.kind == "decode"]
    assert segment["slowest_token"] == 6  # the first came with the prompt
    assert segment["slowest_ms"] == pytest.approx(5 * 9.0, rel=0.01)
    assert segment["expected_ms"] < segment["ms"]
    (prefill,) = [e.detail for e in sequence.trace.events if e.kind == "prefill"]
    assert prefill["expected_ms"] == pytest.approx(prefill["ms"], rel=0.01)


def test_a_cached_prompt_is_no_hopeless_one() -> None:
    engine, _ = engine_with(num_blocks=128, eos_rate=0.0)
    tokens = prompt(5, 200)
    whole_ms = COSTS["4"].a_ms + 200 * COSTS["4"].b_ms
    step_ms = COSTS["4"].q_ms + 200 * COSTS["4"].p_ms
    first = engine.add_request(ask("first", tokens, gear="4"))
    drain(engine)
    # Time for a token and a step behind the cached prompt, and not for the prompt as a whole.
    ms = 1.6 * step_ms
    assert ms < whole_ms
    again = engine.add_request(ask("again", tokens, ms=ms, gear="4", params={"max_tokens": 2}))
    drain(engine)
    assert first.trace.cached_tokens == 0
    assert again.trace.cached_tokens >= 190
    assert again.trace.met is True
    assert again.tokens


def test_who_has_too_little_time_left_still_reads_what_the_cache_holds() -> None:
    costs = {"4": GearCost(b_ms=1.0, q_ms=5.0), "8": GearCost(b_ms=1.2, q_ms=9.0)}
    engine, backend = engine_with(num_blocks=128, context_length=512, eos_rate=0.0, costs=costs)
    tokens = prompt(5, 200)
    engine.add_request(ask("first", tokens, gear="8"))
    drain(engine)
    again = engine.add_request(ask("again", tokens, ms=100.0))
    assert again.plan.prefill_gear == "8"
    backend.clock.advance_ms(65.0)  # and the smallest useful answer fits no longer
    drain(engine)
    assert again.trace.cached_tokens >= 190
    assert again.trace.met is True
    assert check(again.trace) == []


def test_a_context_of_the_callers_is_the_limit_of_a_sequence() -> None:
    engine = engine_over(FakeBackend(FakeClock(10**9), eos_rate=0.0), context_length=40)
    with pytest.raises(ContextLengthExceeded) as caught:
        engine.add_request(ask("a", prompt(1, 40)))
    assert caught.value.context_length == 40
    sequence = engine.add_request(ask("a", prompt(1, 30), params={"ignore_eos": True}))
    drain(engine)
    assert len(sequence.tokens) == 10


def test_a_cache_smaller_than_the_context_is_the_limit_of_a_sequence() -> None:
    backend = FakeBackend(FakeClock(10**9), num_blocks=5, eos_rate=0.0)  # of 4 tokens
    engine = engine_over(backend, context_length=40)
    with pytest.raises(ContextLengthExceeded) as caught:
        engine.add_request(ask("a", prompt(1, 20)))
    assert caught.value.context_length == 20
    sequence = engine.add_request(ask("a", prompt(1, 12)))
    drain(engine)
    assert len(sequence.tokens) == 8


def test_who_only_waits_for_the_next_turn_takes_nobodys_place() -> None:
    engine, _ = engine_with(max_waiting=0, max_rows=2)
    engine.add_request(ask("a", (1,)))
    engine.add_request(ask("b", (1,)))
    with pytest.raises(QueueFull) as caught:
        engine.add_request(ask("c", (1,)))
    assert caught.value.waiting == 0


def test_who_gave_way_goes_on_behind_its_cached_prompt() -> None:
    costs = {"4": COSTS["4"].__class__(b_ms=1.0, q_ms=5.0)}
    engine, _ = engine_with(
        num_blocks=256, context_length=512, eos_rate=0.0, costs=costs, max_rows=1, speculate=False
    )
    patient = engine.add_request(ask("patient", prompt(1, 400), ms=640.0))
    while len(patient.tokens) < 3:
        engine.step()
    engine.add_request(ask("urgent", prompt(2, 8), ms=100.0, params={"max_tokens": 4}))
    drain(engine)
    assert patient.trace.preemptions == 1
    assert patient.trace.met is True
    assert len(patient.tokens) == 30


def test_a_prompt_that_gave_way_does_not_count_its_own_work_as_cached() -> None:
    engine, _ = engine_with(chunk_tokens=16, eos_rate=0.0, max_rows=1, num_blocks=128)
    patient = engine.add_request(ask("patient", prompt(1, 100)))
    for _ in range(3):
        engine.step()
    engine.add_request(ask("urgent", prompt(2, 8), ms=500.0, params={"max_tokens": 2}))
    drain(engine)
    assert patient.trace.preemptions == 1
    assert patient.trace.cached_tokens == 0


def test_what_the_last_look_decides_is_put_in_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look behind a step may end the thinking: those tokens stand behind what was drawn, and come
    at the next turn, without another look."""
    engine, _ = engine_with(speculate=False)
    sequence = engine.add_request(ask("a", prompt(1, 12), ms=1e5, params={"max_tokens": 30}))
    while len(sequence.tokens) < 3:
        engine.step()
    looks: list[int] = []

    def look(*_: object) -> Force:
        looks.append(len(sequence.tokens))
        return Force((7, 8, 9))

    with monkeypatch.context() as patch:
        patch.setattr(engine._steering, "look", look)
        assert engine._last_look(sequence, engine._clock.now_ns()) is None
        assert sequence.owed == Force((7, 8, 9))
        patch.setattr(engine._steering, "due", lambda *_: False)
        engine.step()
    assert sequence.tokens[3:6] == [7, 8, 9]
    assert (looks, sequence.owed) == ([3], None)


def test_a_guess_of_the_end_that_is_right_counts_as_right() -> None:
    speculation = engine_with()[0].speculation
    assert speculation is not None
    sequence = Sequence.__new__(Sequence)
    seen: list[int] = []
    speculation._model.observe = lambda *_, right, **__: seen.append(right)  # type: ignore[method-assign]
    sequence.gear, sequence.speed = UNIFORM[8], 1.0
    sequence.row = BatchRow(np.array([1], dtype=np.int32), 4, np.zeros(1, dtype=np.int32))
    draft = Draft("lookup", np.array([5, EOS], dtype=np.int32), 2)
    for drawn, right in (([5, EOS], 2), ([5, 6], 1), ([4], 0), ([5, EOS, 9], 2)):
        assert speculation.observe(sequence, draft, drawn, 5.0) == right
    assert seen == [2, 1, 0, 2]
