"""Answers that must satisfy a schema, at any deadline, streamed and not."""

import json
from typing import Any

import jsonschema
import pytest
from scripted import ANSWER, MARKS, THINK, VOCABULARY, ScriptedBackend, writes
from test_answers_land import run

from onesec.core.errors import DeadlineInfeasible, InvalidRequest
from onesec.engine.structure import Structure, Structures

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
