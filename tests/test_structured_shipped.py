"""Structured answers of the shipped model, through the front door."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from onesec import LLM

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "reply": {"type": "string"},
        "language": {"enum": ["en", "zh"]},
        "numbers": {"type": "array", "items": {"type": "integer"}, "maxItems": 4},
        "certain": {"type": "boolean"},
    },
    "required": ["reply", "language", "certain"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "schema": SCHEMA}
QUESTIONS = ["Where is my order 4821?", "我想退货，怎么办？", "Translate to Chinese: Good morning."]


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM("onesec-mini", threads=1) as opened:
        opened.generate("Hi", max_tokens=2, response_format=FORMAT)  # builds the tables
        yield opened


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_answers_satisfy_the_schema(llm: LLM, question: str, temperature: float) -> None:
    answer = llm.chat(
        [{"role": "user", "content": question}],
        "2s",
        response_format=FORMAT,
        temperature=temperature,
        seed=3,
        max_tokens=4000,
    )
    assert answer.ending in ("natural", "landed")
    jsonschema.validate(json.loads(answer.text), SCHEMA)


def test_a_stream_satisfies_it_too(llm: LLM) -> None:
    messages = [{"role": "user", "content": QUESTIONS[0]}]
    with llm.chat(messages, "2s", response_format=FORMAT, stream=True) as stream:
        text = "".join(stream)
        assert text == stream.output.text
    jsonschema.validate(json.loads(text), SCHEMA)


def test_structured_and_free_answers_share_the_engine(llm: LLM) -> None:
    prompts = ["Good morning", "早上好"]
    free = llm.generate(prompts, max_tokens=12)
    again = llm.generate(prompts, max_tokens=12)
    assert [a.tokens for a in free] == [a.tokens for a in again]
