import pytest
from fake_backend import EOS, FakeBackend, decode_text, engine_over, prompt

from onesec.backend.base import Batch, BatchResult
from onesec.core.clock import FakeClock
from onesec.core.deadline import Budget
from onesec.core.request import Request, SamplingParams
from onesec.engine.engine import Engine
from onesec.engine.sequence import Sequence


def build(**options: object) -> tuple[Engine, FakeBackend]:
    backend = FakeBackend(FakeClock(10**9), num_blocks=400, eos_rate=0.0)
    engine = Engine(backend, backend.clock, latency=backend.latency(), eos_ids=(EOS,),
                    decode_text=decode_text, **options)  # type: ignore[arg-type]  # fmt: skip
    return engine, backend


def add(engine: Engine, name: str, length: int, *, ms: float | None = None, **values: object):
    params = SamplingParams(max_tokens=20)
    return engine.add_request(
        Request(id=name, prompt_tokens=prompt(len(name), length), params=params,
                budget=Budget(total_ms=ms), **values)  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_earliest_deadline_starts_first() -> None:
    engine, _ = build(max_rows=1)
    add(engine, "none", 8)
    later = add(engine, "later", 8, ms=5000.0)
    first = add(engine, "first", 8, ms=3000.0)
    order = []
    while engine.has_work:
        order += [d.sequence_id for d in engine.step() if d.finished]
    assert order == ["first", "later", "none"]
    assert first.trace.elapsed_ms < later.trace.elapsed_ms


def test_an_urgent_request_takes_the_place_of_one_without_a_deadline() -> None:
    engine, _ = build(max_rows=1)
    patient = add(engine, "patient", 8)
    engine.step()
    engine.step()
    urgent = add(engine, "urgent", 8, ms=500.0)
    engine.step()
    assert patient.state == "waiting"
    while engine.has_work:
        engine.step()
    assert urgent.trace.met is True
    assert len(patient.tokens) == 20


def test_prompts_run_in_chunks_between_decode_steps() -> None:
    engine, backend = build(chunk_tokens=16)
    add(engine, "short", 8)
    engine.step()
    backend.batches.clear()
    add(engine, "long prompt", 60)
    for _ in range(4):
        engine.step()
    shape = [(len(b.rows), [len(r.tokens) for r in b.rows]) for b in backend.batches]
    assert [s for s in shape if s[1] != [1]]  # some chunk ran
    chunks = [len(b.rows[0].tokens) for b in backend.batches if b.rows[0].sampler is None]
    assert len(backend.batches) == 8  # a decode step and a chunk in every turn
    assert all(count <= 16 for count in chunks)


def test_a_short_rest_of_a_prompt_goes_along_with_its_last_chunk() -> None:
    engine, backend = build(chunk_tokens=16, speculate=False, prefix_cache=False)
    for length, expected in ((20, [20]), (21, [16, 5]), (36, [16, 20])):
        seen: list[int] = []
        backend.poison = lambda row, seen=seen: bool(seen.append(len(row.tokens)))  # type: ignore[misc]
        add(engine, f"of {length}", length)
        while engine.has_work:
            engine.step()
        assert [count for count in seen if count > 1] == expected


def test_one_gear_a_batch_and_several_batches_a_turn() -> None:
    engine, backend = build()
    for gear in ("4", "8"):
        for i in range(3):
            add(engine, f"{gear}-{i}" + i * "x", 8, gear=gear)
    engine.step()
    engine.step()
    backend.batches.clear()
    engine.step()
    assert sorted((b.gear.name, len(b.rows)) for b in backend.batches) == [("4", 3), ("8", 3)]


@pytest.mark.parametrize("ms", [None, 5000.0])
def test_prompts_that_come_together_and_begin_alike_are_read_once(ms: float | None) -> None:
    engine, backend = build(speculate=False)
    read: list[int] = []
    backend.poison = lambda row: bool(read.append(len(row.tokens)))  # type: ignore[assignment]
    length, size = 43, backend.block_size
    whole = (length - 1) // size * size
    alike = [add(engine, name, length, ms=ms, gear="8") for name in ("a", "b", "c")]
    while engine.has_work:
        engine.step()
    assert sum(count for count in read if count > 1) == length + 2 * (length - whole)
    assert [each.trace.cached_tokens for each in alike] == [0, whole, whole]
    assert alike[0].tokens == alike[1].tokens == alike[2].tokens


def test_what_others_will_have_read_is_not_waited_for() -> None:
    """A plan counts the beginning that a more urgent prompt in the same gear reads as known."""
    first_ms = []
    for names in (("a", "b", "c"), ("a", "bb", "ccc")):  # each length has a prompt of its own
        engine, _ = build()
        plans = [add(engine, name, 200, ms=9e4, gear="8").plan for name in names]
        first_ms.append([plan.first_ms for plan in plans])
    alike, apart = first_ms
    assert alike[0] == apart[0]
    assert alike[2] < 1.5 * alike[0]
    assert apart[2] > 2.5 * apart[0]


@pytest.mark.parametrize("values", [{}, {"ms": 1e5, "background": True}])
def test_late_sequences_are_not_held_up_by_the_background(values: dict[str, object]) -> None:
    engine, backend = build()
    add(engine, "background", 8, gear="8", **values)
    for _ in range(2):
        engine.step()
    backend.batches.clear()
    urgent = add(engine, "urgent", 8, ms=100.0)
    while not urgent.finished:
        engine.step()
    assert urgent.trace.met is True
    turns = {gear: sum(b.gear.name == gear for b in backend.batches) for gear in "48"}
    assert turns["4"] >= 8
    assert turns["8"] <= turns["4"] / 2


def test_a_chunk_beside_an_urgent_sequence_takes_a_part_of_its_slack_only() -> None:
    engine, backend = build()
    add(engine, "urgent", 8, ms=140.0, gear="4")
    for _ in range(3):
        engine.step()
    backend.batches.clear()
    add(engine, "a long prompt", 240)
    engine.step()
    [chunk] = [b for b in backend.batches if len(b.rows[0].tokens) > 1]
    assert 16 <= len(chunk.rows[0].tokens) < 240


def test_steps_never_pass_what_needs_attention() -> None:
    engine, backend = build(turn_ms=1000.0, speculate=False)
    add(engine, "a", 8)
    engine.step()
    engine.step()
    assert backend.batches[-1].max_steps == 8
    add(engine, "bb", 8)
    engine.step()
    assert backend.batches[-1].rows[0].start == 0
    assert [b.max_steps for b in backend.batches[-2:]] == [1, 1]


@pytest.mark.parametrize("turn_ms", [0.1, 20.0, 1000.0])
def test_several_steps_stay_near_the_length_of_a_turn(turn_ms: float) -> None:
    engine, backend = build(turn_ms=turn_ms)
    add(engine, "a", 8)
    while engine.has_work:
        engine.step()
    for batch in backend.batches[1:]:
        assert batch.max_steps == 1 or batch.max_steps * 9.0 <= turn_ms


def test_what_waited_long_is_planned_anew_when_it_starts() -> None:
    engine, _ = build(max_rows=1)
    add(engine, "first", 8, ms=260.0)
    second = add(engine, "second", 8, ms=900.0)
    while engine.has_work:
        engine.step()
    plans = [event.detail for event in second.trace.events if event.kind == "plan"]
    assert plans[0]["gear"] == "4"  # another one is there
    assert plans[-1]["gear"] == "8"  # alone, with what is left
    assert second.trace.predicted_ms == pytest.approx(plans[0]["predicted_ms"], abs=1e-3)
    assert second.trace.met is True


def test_nobody_gives_way_for_what_does_not_fit_even_so() -> None:
    backend = FakeBackend(FakeClock(10**9), num_blocks=20, eos_rate=0.0)
    engine = Engine(backend, backend.clock, latency=backend.latency(), eos_ids=(EOS,),
                    decode_text=decode_text, prefix_cache=False)  # fmt: skip
    size = backend.block_size
    urgent = add(engine, "urgent", 10 * size, ms=2_000.0)
    third = add(engine, "third", 2 * size, ms=60_000.0)
    while third.state != "decoding" or urgent.state != "decoding":
        engine.step()
    second = add(engine, "second", 14 * size, ms=30_000.0)
    drawn = len(third.tokens)
    for _ in range(4):
        engine.step()
    assert second.state == "waiting"
    assert len(third.tokens) == drawn + 4
    while engine.has_work:
        engine.step()
    assert (second.trace.met, third.trace.met) == (True, True)


def test_the_order_holds_when_one_of_those_who_wait_leaves() -> None:
    engine, _ = build(max_rows=1)
    for rank in (0, 1, 3, 4, 2, 5):
        add(engine, str(rank), 8, ms=10_000.0 + 1_000.0 * rank)
    assert engine.abort("1")
    order = []
    while engine.has_work:
        for delta in engine.step():
            if delta.trace is not None:
                order.append((delta.sequence_id, delta.trace.preemptions))
    assert order == [("0", 0), ("2", 0), ("3", 0), ("4", 0), ("5", 0)]


def test_a_prompt_that_is_read_again_is_pooled_anew() -> None:
    engine, _ = build()
    sequence = add(engine, "a", 4)
    sequence.add_hidden([2.0], 0)
    sequence.add_hidden([2.0], 0)  # after it had to give way
    sequence.computed = 4
    sequence.add_hidden([6.0], 2)
    assert sequence.hidden is not None
    assert sequence.hidden.tolist() == [2.0]


def test_shared_blocks_are_not_counted_for_each_of_those_that_would_give_way() -> None:
    backend = FakeBackend(FakeClock(10**9), num_blocks=40, eos_rate=0.0)
    engine = engine_over(backend, speculate=False)
    shared = prompt(7, 81)

    def one(name: str, tokens: tuple[int, ...], ms: float, limit: int) -> Sequence:
        params = SamplingParams(max_tokens=limit)
        budget = Budget(total_ms=ms)
        return engine.add_request(
            Request(id=name, prompt_tokens=tokens, params=params, budget=budget, gear="4")
        )

    one("first", shared, 50_000.0, 2)
    while engine.has_work:
        engine.step()
    later = [one(f"later{i}", (*shared, i + 1), 50_000.0, 30) for i in range(4)]
    while any(each.state != "decoding" for each in later):
        engine.step()
    one("hog", prompt(3, 20), 5_000.0, 20)
    for _ in range(3):
        engine.step()
    big = one("big", prompt(9, 140), 20_000.0, 5)
    engine.step()
    assert big.state == "waiting"
    assert not any(each.trace.preemptions for each in later)
    while engine.has_work:
        engine.step()
    assert all(each.trace.met for each in (*later, big))


def test_a_plan_made_anew_does_not_meet_its_own_request() -> None:
    engine, backend = build(speculate=False)
    sequence = add(engine, "one", 40, ms=500.0, gear="4")
    backend.clock.advance_ms(100.0)
    engine.step()
    first, again = (e.detail for e in sequence.trace.events if e.kind == "plan")
    assert again["predicted_ms"] == pytest.approx(first["predicted_ms"] + 100.0)


def test_an_answer_that_is_computed_again_shares_no_batch_with_a_prompt() -> None:
    """Its tokens are computed in the arithmetic of decoding, a prompt's in that of prompts."""
    engine, backend = build(max_rows=2, speculate=False)
    patient = add(engine, "patient", 8)
    for _ in range(6):
        engine.step()
    held = [add(engine, "urgent", 9, ms=500.0), add(engine, "urgent too", 9, ms=500.0)]
    engine.step()
    assert patient.state == "waiting"
    assert len(patient.tokens) > 2
    add(engine, "fresh", 40)
    kinds: list[tuple[bool, list[bool]]] = []
    forward = backend.forward

    def watched(batch: Batch) -> BatchResult:
        again = [row is patient.row and row.start >= patient.prompt_length for row in batch.rows]
        if any(len(row.tokens) > 1 for row in batch.rows):
            kinds.append((batch.exact, again))
        return forward(batch)

    backend.forward = watched  # type: ignore[method-assign]
    while engine.has_work:
        engine.step()
    assert all(each.trace.met for each in held)
    assert (True, [True]) in kinds
    assert all(exact == flag for exact, again in kinds for flag in again)
