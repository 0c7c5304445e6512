import json
import random
import re
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onesec.budget.json_end import End
from onesec.core.errors import InvalidRequest
from onesec.core.request import SamplingParams
from onesec.core.response_format import (
    MAX_NUMBER_BOUNDS,
    MAX_SCHEMA_BYTES,
    MAX_SCHEMA_DEPTH,
    schema_of,
)
from onesec.engine.structure import Structure, Structures, Vocabulary

# The bytes, a few longer tokens, one that stands for no text, and the end.
WORDS = [*(bytes([b]) for b in range(256)), b'{"', b'":', b'": "', b'", "', b"name", b"<think>"]
SPECIAL, END = 261, 262
VOCABULARY = Vocabulary(
    size=300,  # padded, as models' tables are
    token_bytes=lambda token: WORDS[token] if token < len(WORDS) else b"",
    eos_ids=(END,),
    special_ids=frozenset({SPECIAL, END}),
    encode=lambda text: list(text.encode()),
)
STRUCTURES = Structures(lambda: VOCABULARY)
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 10, "maximum": 250},
        "kind": {"enum": ["red", "green", "blueish"]},
        "tags": {"type": "array", "items": {"type": "string", "minLength": 3}, "minItems": 1},
        "code": {"type": "string", "pattern": "^[A-Z]{2}[0-9]{3}x$"},
        "price": {"type": "number"},
        "more": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/pair"}]},
    },
    "required": ["name", "age", "kind", "tags", "code", "more"],
    "additionalProperties": False,
    "$defs": {
        "pair": {
            "type": "object",
            "properties": {"left": {"type": "boolean"}, "right": {"const": "yes"}},
            "required": ["left", "right"],
        }
    },
}
SCHEMAS: dict[str, dict[str, Any]] = {
    "person": PERSON,
    "list": {"type": "array", "items": {"type": "integer"}, "minItems": 3},
    "word": {"enum": ["yes", "no", "perhaps"]},
    "number": {"type": "number", "minimum": 3.5},
    "date": {"type": "string", "format": "date"},
    "object": {"type": "object"},
    "one more": {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a", "b"],
        "minProperties": 3,
    },
    "nested": {
        "type": "array",
        "items": {"type": "array", "items": PERSON, "minItems": 1},
        "minItems": 2,
        "$defs": PERSON["$defs"],
    },
}


def bits(mask: np.ndarray) -> list[int]:
    return [t for t in range(32 * len(mask)) if mask[t // 32] >> (t % 32) & 1]


def opened(name: str) -> Structure:
    return STRUCTURES.open(json.dumps(SCHEMAS[name]))


def walk(structure: Structure, rng: random.Random, steps: int) -> bytes:
    """Random tokens that the masks allow; strings are not left to wander."""
    written = b""
    for _ in range(steps):
        if structure.done:
            break
        allowed = bits(structure.mask())
        assert allowed
        assert max(allowed) <= END
        assert SPECIAL not in allowed
        plain = [t for t in allowed if t != END and (t > 255 or chr(t) in ' "{}[],:.-azAZ059')]
        token = rng.choice(plain or allowed)
        if token == END:
            break
        structure.take(token)
        written += WORDS[token]
    return written


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(SCHEMAS)), st.randoms(), st.integers(0, 60))
def test_whatever_the_masks_allow_can_be_closed(name: str, rng: random.Random, steps: int) -> None:
    structure = opened(name)
    text = walk(structure, rng, steps).decode()
    closing = structure.close(text)
    assert closing is not None
    jsonschema.validate(json.loads(text + closing), SCHEMAS[name])
    if structure.done:
        assert closing == ""


def test_the_shortest_answers() -> None:
    def shortest(name: str) -> str | None:
        return opened(name).close("")

    assert shortest("object") == "{}"
    assert shortest("list") == "[0,0,0]"
    assert shortest("word") in ('"yes"', '"no"')
    found = shortest("person")
    assert found is not None
    jsonschema.validate(json.loads(found), PERSON)
    assert len(found) < 100


def test_an_end_is_completed_where_it_can_be() -> None:
    structure = opened("person")
    text = '{"name": "Bo", "age": 12, "kind": "bl'
    end = structure.end(text, [End(25, "}"), End(len(text), '"}')])
    assert end is not None
    assert end.keep == 25
    jsonschema.validate(json.loads(text[:25] + end.closing), PERSON)
    assert structure.end('{"nome', [End(6)]) is None


def test_a_token_beside_the_mask_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="breaks"):
        opened("list").take(ord("{"))


def test_schemas_are_compiled_once_and_answers_do_not_share_state() -> None:
    first, second = opened("list"), opened("list")
    first.take(ord("["))
    assert bits(second.mask()) == bits(opened("list").mask())
    assert len(STRUCTURES._known) <= 16


HOSTILE: dict[str, Any] = {
    "remote": {"$ref": "http://example.com/schema"},
    "strange type": {"type": "strange"},
    "unsatisfiable": {"allOf": [{"type": "string"}, {"type": "integer"}]},
    "unknown key": {"not": {"type": "string"}},
    "look-ahead": {"type": "string", "pattern": "^(?=a)b"},
    "broken pattern": {"type": "string", "pattern": "(("},
    "endless": {"type": "array", "minItems": 10**9, "items": {"type": "integer"}},
    "long": {"type": "string", "minLength": 10**6},
    "recursive": {
        "$defs": {
            "n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "required": ["n"]}
        },
        "$ref": "#/$defs/n",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_schemas_that_nothing_can_satisfy_are_refused(name: str) -> None:
    schema = schema_of({"type": "json_schema", "schema": HOSTILE[name]})
    with pytest.raises(InvalidRequest):
        STRUCTURES.open(schema)


def test_what_is_refused_is_not_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = schema_of({"type": "json_schema", "schema": {"type": "string", "minLength": 10**5}})
    with pytest.raises(InvalidRequest) as first:
        STRUCTURES.open(schema)
    monkeypatch.setattr(STRUCTURES, "_compile", lambda _: pytest.fail("compiled again"))
    with pytest.raises(InvalidRequest) as again:
        STRUCTURES.open(schema)
    assert (again.value.message, again.value.hint) == (first.value.message, first.value.hint)


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"$ref": "http://example.com/schema"}, "a $ref leads outside of it"),
        ({"type": "string", "pattern": "(a"}, "a pattern has an error: unclosed group"),
    ],
)
def test_refusals_of_schemas_have_words_of_their_own(schema: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(f"The schema cannot be used: {words}")):
        STRUCTURES.open(schema_of({"type": "json_schema", "schema": schema}))


def test_limits_and_forms_of_response_formats() -> None:
    def check(value: Any) -> str:
        return schema_of(value)

    assert json.loads(check({"type": "json_schema", "schema": PERSON})) == PERSON
    nested = {"type": "json_schema", "json_schema": {"name": "x", "schema": PERSON}}
    assert json.loads(check(nested)) == PERSON
    bounds = {"anyOf": [{"minimum": i} for i in range(MAX_NUMBER_BOUNDS + 1)]}
    itself: dict[str, Any] = {}
    itself["items"] = itself
    for schema in (
        {"title": "x" * MAX_SCHEMA_BYTES},
        deep(MAX_SCHEMA_DEPTH),
        deep(100_000),
        itself,
        bounds,
        {"minimum": float("nan")},
        {"x-guidance": {"whitespace_flexible": True}},
        # Nothing keeps names apart that the schema does not give.
        {"items": {"type": "object", "required": ["a"], "minProperties": 3}},
        {"const": object()},
        "string",
        None,
    ):
        with pytest.raises(InvalidRequest):
            check({"type": "json_schema", "schema": schema})
    assert check({"type": "json_schema", "schema": deep(MAX_SCHEMA_DEPTH - 1)})
    for wrong in ({}, {"type": "text"}, {"type": 3}, [], "json"):
        with pytest.raises(InvalidRequest):
            check(wrong)
    with pytest.raises(InvalidRequest):
        SamplingParams(response_format={"type": "text"})


def test_without_the_library_the_request_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "llguidance", None)
    with pytest.raises(InvalidRequest, match="llguidance") as caught:
        Structures(lambda: VOCABULARY).open('{"type":"object"}')
    assert "onesec[structured]" in str(caught.value.hint)
