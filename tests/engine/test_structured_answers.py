"""Answers that must satisfy a schema, at any deadline, streamed and not."""

import json
from typing import Any

import jsonschema
import pytest
from scripted import ANSWER, MARKS, THINK, VOCABULARY, ScriptedBackend, decode, writes
from test_answers_land import run

from onesec.core.errors import DeadlineInfeasible, InvalidRequest
from onesec.core.request import SamplingParams
from onesec.engine.stopping import StopCheck
from onesec.engine.structure import Structure, Structures
from onesec.explain.check import check

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "answer": {"type": "string"},
        "sure": {"type": "boolean"},
        "sources": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
        "kind": {"enum": ["refund", "delivery", "other"]},
    },
    "required": ["answer", "sure", "sources", "kind"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "schema": SCHEMA}
WHOLE = json.dumps(
    {
        "answer": "Your kettle left Berlin. It comes on Friday. You can pay at the door.",
        "sure": True,
        "sources": [12, 7, 345],
        "kind": "delivery",
    }
)
STRUCTURES = Structures(lambda: VOCABULARY)


def asked(backend: ScriptedBackend, ms: float | None, stream: bool, **options: Any):
    params = {"response_format": FORMAT, **options.pop("params", {})}
    return run(backend, ms, stream=stream, params=params, structures=STRUCTURES, **options)


@pytest.mark.parametrize("stream", [False, True])
def test_every_budget_gives_an_answer_within_the_schema(stream: bool) -> None:
    for ms in range(12, len(WHOLE) + 30, 7):
        output, _, text = asked(ScriptedBackend(writes(WHOLE)), float(ms), stream)
        assert output.trace.met
        assert output.ending in ("natural", "landed")
        found = json.loads(text)
        jsonschema.validate(found, SCHEMA)
        kept = text.removesuffix(output.closing) if output.closing else text
        assert WHOLE.startswith(kept)
        if len(kept) > 60 and not stream:
            assert found["answer"].startswith("Your kettle left Berlin.")


def test_a_model_that_breaks_the_schema_is_kept_within_it() -> None:
    wild = "Sure! Here is { the 'JSON' you asked for: 12, [true] and so on. " * 4
    output, _, text = asked(ScriptedBackend(writes(wild)), 150.0, False)
    jsonschema.validate(json.loads(text), SCHEMA)
    assert output.ending == "landed"


def test_it_ends_by_itself_and_without_a_deadline() -> None:
    output, _, text = asked(ScriptedBackend(writes(WHOLE + " and more")), None, False)
    assert (output.ending, text) == ("natural", WHOLE)
    output, _, text = asked(
        ScriptedBackend(writes(WHOLE)), None, False, params={"ignore_eos": True, "logprobs": 1}
    )
    assert (output.ending, text) == ("natural", WHOLE)
    assert len(output.logprobs) == len(output.tokens)


def test_one_step_a_call_and_no_drafts() -> None:
    backend = ScriptedBackend(writes(WHOLE))
    asked(backend, 5000.0, False)
    assert {batch.max_steps for batch in backend.batches} == {1}
    assert not any(row.drafted for batch in backend.batches for row in batch.rows)


@pytest.mark.parametrize("stream", [False, True])
def test_max_tokens_closes_it_too(stream: bool) -> None:
    for limit in range(1, len(WHOLE), 9):
        output, _, text = asked(
            ScriptedBackend(writes(WHOLE)), None, stream, params={"max_tokens": limit}
        )
        assert (output.ending, output.stop_reason) == ("landed", "max_tokens")
        assert text.startswith(WHOLE[: limit - 1].rstrip())
        jsonschema.validate(json.loads(text), SCHEMA)


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_is_free_and_what_follows_is_not(stream: bool) -> None:
    def script(done: list[int]) -> int:
        if ANSWER not in done:
            return ord("hm, [ok] "[len(done) % 9])
        return ord(WHOLE[min(len(done) - done.index(ANSWER) - 1, len(WHOLE) - 1)])

    for ms in range(120, 420, 37):
        output, _, text = asked(
            ScriptedBackend(script), float(ms), stream, thinking=MARKS, prompt=(THINK,)
        )
        assert output.ending in ("natural", "landed")
        at = output.tokens.index(ANSWER)
        jsonschema.validate(json.loads(text[at:]), SCHEMA)


def endless(done: list[int]) -> int:
    """Thinks until it is stopped."""
    if ANSWER not in done:
        return ord("hm, [ok] "[len(done) % 9])
    return ord(WHOLE[min(len(done) - done.index(ANSWER) - 1, len(WHOLE) - 1)])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ms", [None, 10_000.0])
def test_thinking_leaves_tokens_for_the_answer(ms: float | None, stream: bool) -> None:
    for limit in (1, 2, 3, 8, 9, 10, 11, 25, 60, 120, 2 * len(WHOLE) + 20):
        output, _, text = asked(
            ScriptedBackend(endless),
            ms,
            stream,
            thinking=MARKS,
            prompt=(THINK,),
            params={"max_tokens": limit},
        )
        answer = text[text.index("{") :]
        jsonschema.validate(json.loads(answer), SCHEMA)
        assert len(output.tokens) <= limit
        if limit > 10:
            assert ANSWER in output.tokens
            assert answer.startswith(WHOLE[:8])
            assert check(output.trace) == []
    assert (output.ending, answer) == ("natural", WHOLE)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_hangs_while_thinking_is_closed(stream: bool) -> None:
    for after in (1, 40):
        backend = ScriptedBackend(endless)
        stopped = StopCheck(
            SamplingParams(max_tokens=500),
            eos_ids=(0,),
            limit=500,
            tokens=[],
            decode=decode,
            marks=MARKS,
            thinking=True,
            structure=STRUCTURES.open(json.dumps(SCHEMA)),
        )
        thoughts = [backend.script([0] * i) for i in range(after)]
        for token in thoughts:
            assert stopped.add(token) is None
        if stream:
            stopped.show()
        stop = stopped.out_of_time(may_trim=not stream)
        assert (stop.ending, stop.stop_reason) == ("landed", "deadline")
        assert stop.text_chars in (None, after)
        assert stop.closing.startswith("\n{")
        jsonschema.validate(json.loads(stop.closing), SCHEMA)


def test_any_object_of_json() -> None:
    output, _, text = run(
        ScriptedBackend(writes('{"a": [1, {"b": "Yes. No')),
        60.0,
        stream=False,
        params={"response_format": {"type": "json_object"}},
        structures=STRUCTURES,
    )
    assert isinstance(json.loads(text), dict)
    assert output.ending == "landed"


def test_an_engine_without_a_vocabulary_refuses() -> None:
    with pytest.raises(InvalidRequest, match="vocabulary"):
        run(ScriptedBackend(writes("x")), None, stream=False, params={"response_format": FORMAT})


def test_the_time_kept_for_closing_is_planned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing takes 40 ms here, of which the double is kept: a budget of 85 ms has 5."""
    backend = ScriptedBackend(writes(WHOLE))

    def slowly(self: Structure, text: str) -> str | None:
        backend.clock.advance_ms(40.0)
        return close(self, text)

    close = Structure.close
    monkeypatch.setattr(Structure, "close", slowly)
    with pytest.raises(DeadlineInfeasible) as caught:
        asked(backend, 85.0, False)
    output, _, text = asked(backend, caught.value.feasible_ms, False)
    assert output.trace.predicted_ms <= output.trace.budget_ms
    jsonschema.validate(json.loads(text), SCHEMA)
