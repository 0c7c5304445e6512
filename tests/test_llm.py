"""The synchronous door: texts in, Outputs out, whatever happens on the way."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from threading import Event, Thread, current_thread
from typing import Any

import doors
import numpy as np
import pytest
from doors import EOS, Reciter, recite

from onesec.backend.base import Batch, BatchResult
from onesec.core.clock import FakeClock
from onesec.core.cues import Cues
from onesec.core.deadline import Budget, Deadline
from onesec.core.errors import (
    ContextLengthExceeded,
    DeadlineInfeasible,
    EmptyPrompt,
    EngineClosed,
    InvalidRequest,
    QueueFull,
    UnknownGear,
    UnknownToken,
)
from onesec.core.request import SamplingParams
from onesec.llm import LLM
from onesec.loading import length_store

TEXT = "Once there was a fox. It lived in a wood. It ate berries. It slept well. The end."
PROMPT = "Once there"  # the answer goes on where the prompt ends


@pytest.fixture
def parts() -> tuple[LLM, FakeClock, Reciter]:
    loaded, clock, backend = recite(TEXT)
    return LLM.over(loaded, clock=clock), clock, backend


def test_an_answer_is_whole_and_says_how_it_came(parts: tuple[LLM, FakeClock, Reciter]) -> None:
    llm, _, _ = parts
    output = llm.generate(PROMPT)
    assert output.text == TEXT[len(PROMPT) :]
    assert "".join(map(chr, output.tokens)) == output.text
    assert (output.finish_reason, output.ending, output.met) == ("stop", "natural", None)
    assert output.prompt_tokens == len(PROMPT)
    assert output.logprobs == ()  # nobody asked
    assert sum(output.trace.gears.values()) == len(output.tokens)
    assert output.to_dict()["trace"]["ending"] == "natural"


def test_the_budget_runs_from_the_call(parts: tuple[LLM, FakeClock, Reciter]) -> None:
    llm, clock, _ = parts
    before = clock.now_ns()
    output = llm.generate(PROMPT, deadline="300ms")
    assert output.met is True
    assert output.elapsed_ms == pytest.approx((clock.now_ns() - before) / 1e6)
    assert output.elapsed_ms <= 300.0
    assert output.trace.budget_ms == 300.0


def test_a_short_budget_lands_at_a_sentence(parts: tuple[LLM, FakeClock, Reciter]) -> None:
    llm, _, _ = parts
    output = llm.generate(PROMPT, deadline="60ms")
    assert output.met is True
    assert output.ending == "landed"
    assert output.text.endswith(".")
    assert TEXT[len(PROMPT) :].startswith(output.text)


def test_seconds_texts_and_budgets_are_deadlines(parts: tuple[LLM, FakeClock, Reciter]) -> None:
    llm, _, _ = parts
    given = [0.5, "500ms", Budget(total_ms=500.0)]
    found = [llm.generate(PROMPT, deadline).trace.budget_ms for deadline in given]
    assert found == [500.0, 500.0, 500.0]


def test_an_impossible_budget_is_refused_with_one_that_works(
    parts: tuple[LLM, FakeClock, Reciter],
) -> None:
    llm, _, backend = parts
    with pytest.raises(DeadlineInfeasible) as caught:
        llm.generate(PROMPT, deadline="3ms")
    assert backend.forwards == 0
    output = llm.generate(PROMPT, deadline=caught.value.feasible_ms / 1e3)
    assert output.met is True


def test_a_policy_and_all_three_budgets_reach_the_engine() -> None:
    """Gear 4 takes 1 ms a token, gear 8 takes 2 ms; a prompt token 0.1 and 0.2 ms."""
    loaded, clock, _ = recite(TEXT)
    llm = LLM.over(loaded, clock=clock, speculate=False)  # guesses make the better gear fit, too
    assert set(llm.generate(PROMPT, policy="fastest").trace.gears) == {"4"}
    assert set(llm.stream(PROMPT, policy="quality").output.trace.gears) == {"8"}
    output = llm.generate(PROMPT, Budget(ttft_ms=90.0, tpot_ms=1.5))
    assert output.met
    assert set(output.trace.gears) == {"4"}
    assert output.trace.tpot_ms is not None
    assert output.trace.tpot_ms <= 1.5
    with pytest.raises(DeadlineInfeasible) as caught:
        llm.generate(PROMPT, Budget(tpot_ms=0.2))
    assert caught.value.which == "tpot"
    with pytest.raises(InvalidRequest, match="policy"):
        llm.generate(PROMPT, policy="cheap")  # type: ignore[call-overload]


def test_what_is_left_of_a_deadline_is_a_budget(parts: tuple[LLM, FakeClock, Reciter]) -> None:
    llm, clock, _ = parts
    due = Deadline.within("300ms", clock.now_ns())
    clock.advance_ms(100.0)
    assert llm.generate(PROMPT, due).trace.budget_ms == pytest.approx(200.0)
    clock.advance_ms(500.0)
    with pytest.raises(DeadlineInfeasible) as caught:
        llm.generate(PROMPT, due)
    assert caught.value.feasible_ms > 1.0


def test_several_prompts_come_back_in_their_order(
    parts: tuple[LLM, FakeClock, Reciter],
) -> None:
    llm, _, _ = parts
    prompts = [TEXT[:30], TEXT[:10], [ord(c) for c in TEXT[:20]]]
    outputs = llm.generate(prompts)
    assert [output.text for output in outputs] == [TEXT[30:], TEXT[10:], TEXT[20:]]
    assert llm.generate([]) == []
    assert llm.generate([ord(c) for c in PROMPT]).text == TEXT[len(PROMPT) :]


def test_one_bad_prompt_of_several_leaves_nothing_behind(
    parts: tuple[LLM, FakeClock, Reciter],
) -> None:
    llm, _, backend = parts
    with pytest.raises(ContextLengthExceeded):
        llm.generate([PROMPT, "x" * 600])
    assert backend.forwards == 0
    assert llm.generate(PROMPT).text == TEXT[len(PROMPT) :]


def test_a_stream_gives_the_same_text_in_pieces(parts: tuple[LLM, FakeClock, Reciter]) -> None:
    llm, _, _ = parts
    stream = llm.stream(PROMPT)
    pieces = list(stream)
    assert len(pieces) > 1
    assert "".join(pieces) == TEXT[len(PROMPT) :] == stream.output.text


def test_two_streams_may_be_read_in_turn(parts: tuple[LLM, FakeClock, Reciter]) -> None:
    llm, _, _ = parts
    first, second = llm.stream(TEXT[:10]), llm.stream(TEXT[:30])
    texts = ["", ""]
    for _ in range(200):
        texts[0] += next(first, "")
        texts[1] += next(second, "")
    assert texts == [TEXT[10:], TEXT[30:]]


def test_stop_strings_never_show(parts: tuple[LLM, FakeClock, Reciter]) -> None:
    llm, _, _ = parts
    stream = llm.stream(PROMPT, stop=" wood")
    assert "".join(stream) == " was a fox. It lived in a"
    assert stream.output.stop_reason == " wood"
    assert stream.output.finish_reason == "stop"


def test_a_closed_stream_is_aborted_and_the_engine_goes_on(
    parts: tuple[LLM, FakeClock, Reciter],
) -> None:
    llm, _, backend = parts
    with llm.stream(PROMPT) as stream:
        next(stream)
    forwards = backend.forwards
    with pytest.raises(InvalidRequest, match="closed"):
        _ = stream.output
    assert backend.forwards == forwards
    assert llm.generate(PROMPT).text == TEXT[len(PROMPT) :]


def test_an_interrupt_aborts_and_the_engine_goes_on(
    parts: tuple[LLM, FakeClock, Reciter],
) -> None:
    llm, _, backend = parts
    backend.raise_at[2] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        llm.generate([PROMPT, TEXT[:20]])
    assert llm.generate(PROMPT).text == TEXT[len(PROMPT) :]


@pytest.mark.parametrize("forward", [3, 4, 5, 6, 7])
def test_an_interrupt_between_two_gears_leaves_nothing_of_either(
    forward: int, parts: tuple[LLM, FakeClock, Reciter]
) -> None:
    llm, _, backend = parts
    backend.raise_at[forward] = KeyboardInterrupt()
    streams = [llm.stream(PROMPT, gear=gear) for gear in ("4", "8")]
    with pytest.raises(KeyboardInterrupt):
        _ = [stream.output for stream in streams]
    for stream in streams:
        stream.close()
    assert llm.generate(PROMPT).text == TEXT[len(PROMPT) :]


def test_more_prompts_than_may_wait_are_answered_all(
    parts: tuple[LLM, FakeClock, Reciter],
) -> None:
    llm, _, _ = parts
    llm._engine._max_waiting = 2
    prompts = [PROMPT + TEXT[len(PROMPT) :][:count] for count in range(20)]
    outputs = llm.generate(prompts, max_tokens=3)
    assert [output.text for output in outputs] == [TEXT[len(p) :][:3] for p in prompts]
    held = [llm.stream(PROMPT) for _ in range(2 + llm._engine._scheduler.max_rows)]
    with pytest.raises(QueueFull):  # of what is not its own
        llm.generate(prompts)
    for stream in held:
        stream.close()


def test_arrays_of_token_ids_are_prompts_one_by_one(parts: tuple[LLM, FakeClock, Reciter]) -> None:
    llm, _, _ = parts
    ids: Any = np.array([ord(char) for char in PROMPT])
    alone = llm.generate(ids)
    several = llm.generate([ids, ids[:1], PROMPT])
    assert [output.prompt_tokens for output in several] == [len(PROMPT), 1, len(PROMPT)]
    assert several[0].text == several[2].text == alone.text
    assert [output.text for output in llm.generate(np.stack([ids, ids]))] == [alone.text] * 2


@pytest.mark.parametrize("ids", [[1, "a"], [1, 2.7], np.array([1.0, 2.0])])
def test_token_ids_are_whole_numbers(ids: Any, parts: tuple[LLM, FakeClock, Reciter]) -> None:
    with pytest.raises(InvalidRequest, match="whole number"):
        parts[0].generate(ids)


def test_a_failing_backend_raises_its_error_and_the_engine_goes_on(
    parts: tuple[LLM, FakeClock, Reciter],
) -> None:
    llm, _, backend = parts
    backend.raise_at[1] = RuntimeError("the unit is on fire")
    with pytest.raises(RuntimeError, match="on fire"):
        llm.generate(PROMPT)
    assert llm.generate(PROMPT).text == TEXT[len(PROMPT) :]


def test_chat_goes_through_the_template() -> None:
    conversation = "user: Hi|assistant: "
    loaded, clock, _ = recite(conversation + "Hello. How are you?")
    with LLM.over(loaded, clock=clock) as llm:
        messages = [{"role": "user", "content": "Hi"}]
        output = llm.chat(messages)
        assert output.prompt_tokens == len(conversation)
        assert output.text == "Hello. How are you?"
        assert "".join(llm.chat(messages, stream=True)) == output.text


def test_chat_without_a_template_is_refused() -> None:
    loaded, clock, _ = recite(TEXT, template=False)
    with LLM.over(loaded, clock=clock) as llm:
        assert not llm.has_chat_template
        with pytest.raises(InvalidRequest, match="chat template"):
            llm.chat([{"role": "user", "content": "Hi"}])


def test_old_turns_are_dropped_to_fit(parts: tuple[LLM, FakeClock, Reciter]) -> None:
    llm, _, _ = parts
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "first " * 10},
        {"role": "assistant", "content": "answer"},
        {"role": "user", "content": "last"},
    ]
    kept, dropped = llm.fit_messages(messages, max_tokens=60)
    assert [m["content"] for m in kept] == ["Be kind.", "last"]
    assert dropped == 1
    with pytest.raises(ContextLengthExceeded):  # what a user says is not shortened in silence
        llm.fit_messages([*messages, {"role": "user", "content": "Long. " * 90}], max_tokens=60)


def test_sampling_values_are_checked_and_override_params(
    parts: tuple[LLM, FakeClock, Reciter],
) -> None:
    llm, _, _ = parts
    params = SamplingParams(max_tokens=3, logprobs=1)
    assert len(llm.generate(PROMPT, params=params).tokens) == 3
    output = llm.generate(PROMPT, params=params, max_tokens=5)
    assert (len(output.tokens), output.finish_reason, output.ending) == (5, "length", "cut")
    assert [top[0][0] for top in output.top_logprobs] == list(output.tokens)
    assert len(output.logprobs) == len(output.tokens)
    with pytest.raises(InvalidRequest, match="temprature"):
        llm.generate(PROMPT, temprature=1.0)
    with pytest.raises(InvalidRequest, match="temperature"):
        llm.generate(PROMPT, temperature=-1.0)


ADVICE = SamplingParams(temperature=0.6, top_p=0.9, repetition_penalty=1.1, max_tokens=7)


@pytest.fixture
def advised() -> LLM:
    """A model whose makers recommend how to sample."""
    loaded, clock, _ = recite("user: Hi|assistant: Hello. How are you?")
    loaded.default_params = ADVICE
    return LLM.over(loaded, clock=clock)


def test_a_model_samples_as_its_makers_say(advised: LLM) -> None:
    assert advised.default_params == ADVICE
    outputs = [
        advised.generate("user"),
        advised.stream("user").output,
        advised.chat([{"role": "user", "content": "Hi"}]),
    ]
    for output in outputs:
        assert (len(output.tokens), output.finish_reason) == (7, "length")
        assert output.trace.sampling == {
            "temperature": 0.6,
            "top_p": 0.9,
            "repetition_penalty": 1.1,
            "max_tokens": 7,
        }


def test_a_named_value_goes_before_the_makers(advised: LLM) -> None:
    output = advised.generate("user", temperature=0.0, max_tokens=None, top_k=5)
    assert output.text.endswith("How are you?")
    assert output.trace.sampling == {"top_k": 5, "top_p": 0.9, "repetition_penalty": 1.1}


def test_params_stand_for_themselves(advised: LLM) -> None:
    assert advised.generate("user", params=SamplingParams()).trace.sampling == {}
    output = advised.generate("user", None, SamplingParams(max_tokens=9), temperature=0.5)
    assert output.trace.sampling == {"temperature": 0.5, "max_tokens": 9}


def test_gears_are_the_callers_choice(parts: tuple[LLM, FakeClock, Reciter]) -> None:
    llm, _, _ = parts
    assert [gear.name for gear in llm.gears] == ["4", "8"]
    assert set(llm.generate(PROMPT, gear="4").trace.gears) == {"4"}
    assert set(llm.generate(PROMPT, min_gear="8").trace.gears) == {"8"}
    with pytest.raises(UnknownGear, match="'5'"):
        llm.generate(PROMPT, gear="5")


def test_what_fails_before_the_first_answer_closes_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded, clock, backend = recite(TEXT)

    def failing(clock: object, use: object) -> object:
        raise ZeroDivisionError

    monkeypatch.setattr(loaded, "measure_latency", failing)
    with pytest.raises(ZeroDivisionError):
        LLM.over(loaded, clock=clock)
    assert backend.closed


def test_after_close_nothing_runs(parts: tuple[LLM, FakeClock, Reciter]) -> None:
    llm, _, backend = parts
    llm.close()
    llm.close()
    assert backend.closed
    with pytest.raises(EngineClosed):
        llm.generate(PROMPT)


def test_after_close_nothing_is_saved(
    parts: tuple[LLM, FakeClock, Reciter], tmp_path: Path
) -> None:
    llm, _, _ = parts
    llm.close()
    with pytest.raises(EngineClosed):
        llm.save(tmp_path / "artifact")


def test_threads_take_turns(
    parts: tuple[LLM, FakeClock, Reciter], monkeypatch: pytest.MonkeyPatch
) -> None:
    llm, _, backend = parts
    knocked, forward, turn = Event(), backend.forward, llm._turn
    computed: list[Thread] = []

    class Door:
        def __enter__(self) -> None:
            if current_thread() is other:
                knocked.set()
            turn.acquire()

        def __exit__(self, *_: object) -> None:
            turn.release()

    def watched(batch: Batch) -> BatchResult:
        if not computed:
            other.start()
            assert knocked.wait(timeout=60.0)
        computed.append(current_thread())
        return forward(batch)

    texts: list[str] = []
    other = Thread(target=lambda: texts.append(llm.generate(PROMPT).text))
    monkeypatch.setattr(llm, "_turn", Door())
    monkeypatch.setattr(backend, "forward", watched)
    texts.append(llm.generate(PROMPT).text)
    other.join()
    assert texts == 2 * [TEXT[len(PROMPT) :]]
    assert [thread for thread, _ in groupby(computed)] == [current_thread(), other]


def test_a_forked_process_is_told(
    parts: tuple[LLM, FakeClock, Reciter], monkeypatch: pytest.MonkeyPatch
) -> None:
    llm, _, backend = parts
    stream = llm.stream(PROMPT)
    monkeypatch.setattr("os.getpid", lambda: 0)
    for ask in (lambda: llm.generate(PROMPT), lambda: next(stream)):
        with pytest.raises(EngineClosed, match="forked"):
            ask()
    assert backend.forwards == 0


def test_a_stream_that_nobody_holds_ends_with_the_next_call(
    parts: tuple[LLM, FakeClock, Reciter],
) -> None:
    llm, _, _ = parts
    for _ in range(3):
        next(llm.stream(PROMPT))
    assert llm.generate(PROMPT).text == TEXT[len(PROMPT) :]
    assert not llm._answers
    assert not llm._engine.has_work


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ({"stop": None, "max_tokens": 6}, " was a"),
        ({"stop": ["x"]}, " was a fo"),
        ({"stop_token_ids": [ord("x")]}, " was a fo"),
        ({"stop_token_ids": ord("x")}, " was a fo"),
    ],
)
def test_stops_are_none_one_or_several(
    ends: dict[str, Any], text: str, parts: tuple[LLM, FakeClock, Reciter]
) -> None:
    assert parts[0].generate(PROMPT, **ends).text == text


@pytest.mark.parametrize(
    "ends", [{"stop": 5}, {"stop": 0.5}, {"stop_token_ids": "x"}, {"logit_bias": [5]}]
)
def test_values_of_another_kind_are_refused(
    ends: dict[str, Any], parts: tuple[LLM, FakeClock, Reciter]
) -> None:
    with pytest.raises(InvalidRequest, match=r"stop|logit_bias"):
        parts[0].generate(PROMPT, **ends)


@pytest.mark.parametrize(
    ("param", "value"),
    [("logit_bias", {5: 1.0, 0x110000: 1.0}), ("stop_token_ids", [5, 0x110000])],
)
def test_a_token_beyond_the_vocabulary_is_refused(
    param: str, value: Any, parts: tuple[LLM, FakeClock, Reciter]
) -> None:
    with pytest.raises(
        UnknownToken, match=rf"{param} has token 1114112.*\[0, 1114112\)"
    ) as refused:
        parts[0].generate(PROMPT, **{param: value})
    assert (refused.value.param, refused.value.token) == (param, 0x110000)


@pytest.mark.parametrize("messages", [None, 5, "Hi", b"Hi", {"role": "user", "content": "Hi"}])
def test_messages_that_are_no_list_are_refused(
    messages: Any, parts: tuple[LLM, FakeClock, Reciter]
) -> None:
    llm = parts[0]
    with pytest.raises(InvalidRequest, match="they must be a list of messages"):
        llm.chat(messages)
    with pytest.raises(InvalidRequest, match="they must be a list of messages"):
        llm.fit_messages(messages, max_tokens=99)


@pytest.mark.parametrize("prompt", [None, 5, b"Hi", {"role": "user", "content": "Hi"}])
def test_without_a_text_nothing_is_attributed(
    prompt: Any, parts: tuple[LLM, FakeClock, Reciter]
) -> None:
    with pytest.raises(InvalidRequest, match="no text"):
        parts[0].attribute(prompt, "x")


@pytest.mark.parametrize("params", [5, {}, {"temperature": 1.0}, "greedy"])
def test_params_of_another_kind_are_refused(
    params: Any, parts: tuple[LLM, FakeClock, Reciter]
) -> None:
    with pytest.raises(InvalidRequest, match="it must be SamplingParams"):
        parts[0].generate(PROMPT, params=params)


@pytest.mark.parametrize("app", [None, 5, []])
def test_an_application_has_a_name(app: Any, parts: tuple[LLM, FakeClock, Reciter]) -> None:
    with pytest.raises(InvalidRequest, match="app is a"):
        parts[0].chat([{"role": "user", "content": "Hi"}], app=app)


@pytest.mark.parametrize("profile", ["typo", None, 5, []])
def test_a_use_of_the_profile_that_is_none_is_refused_before_anything_is_loaded(
    profile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onesec.llm.load_model", None)
    with pytest.raises(InvalidRequest, match=r"There is no profile .* checked, kept, fresh"):
        LLM("onesec-mini", profile=profile)


def test_an_answer_may_be_empty(parts: tuple[LLM, FakeClock, Reciter]) -> None:
    llm, _, _ = parts
    output = llm.generate(TEXT)
    assert (output.text, output.tokens, output.ending) == ("", (), "natural")
    assert EOS not in output.tokens


def test_lengths_are_kept_for_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "model.bin").write_bytes(b"weights")
    store = length_store(tmp_path / "model.bin")
    assert length_store(tmp_path / "model.bin").path == store.path
    (tmp_path / "other.bin").write_bytes(b"Weights")
    assert length_store(tmp_path / "other.bin").path != store.path

    def again(learn: bool) -> int:
        loaded, clock, _ = recite(TEXT)
        loaded.lengths = lambda: store
        with LLM.over(loaded, clock=clock, learn=learn) as llm:
            for _ in range(30):
                llm.generate(PROMPT)
            return llm._engine.length.cells

    assert again(False) > 0
    assert not store.path.exists()
    again(True)
    assert store.path.exists()
    kept = store.load().quantile(0.5, cues=Cues(source_tokens=len(PROMPT)))
    assert kept == pytest.approx(len(TEXT) - len(PROMPT), rel=0.2)


def test_a_file_that_cannot_be_read_is_none_of_the_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"weights")
    known = length_store(folder).path
    locked = folder / "notes"
    locked.write_bytes(b"private")
    opened = open

    def refusing(path: Any, *mode: Any, **options: Any) -> Any:
        if path == locked:
            raise PermissionError(13, "Permission denied")
        return opened(path, *mode, **options)

    monkeypatch.setattr("builtins.open", refusing)
    assert length_store(folder).path == known


def test_a_plain_prompt_goes_on_with_the_space_that_opens_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doors, "Characters", doors.Marking)
    loaded, clock, _ = recite("The capital is Paris!", template=False)
    with LLM.over(loaded, clock=clock) as llm:
        assert llm.generate("The capital is").text == " Paris!"
        assert llm.generate("The capital is", stop="!").text == " Paris"


def test_an_empty_prompt_carried_nothing(parts: tuple[LLM, FakeClock, Reciter]) -> None:
    llm, _, _ = parts
    with pytest.raises(EmptyPrompt):
        llm.attribute(" ", "x")
