"""/v1/responses through OpenAI's client: whole, streamed, cut, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from live import ANSWER, Live


@pytest.fixture
def client(reciter: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{reciter.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_one_answer(client: openai.OpenAI) -> None:
    found = client.responses.create(model="reciter", input="Hi", extra_body={"deadline_ms": 300})
    assert found.output_text == ANSWER
    assert found.status == "completed"
    assert found.usage.output_tokens == len(ANSWER)
    assert found.model_extra["onesec"]["met"] is True


def test_messages_and_instructions(client: openai.OpenAI) -> None:
    item: Any = {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
    found = client.responses.create(model="reciter", input=[item])
    assert found.output_text == ANSWER
    longer = client.responses.create(model="reciter", input=[item], instructions="Be kind.")
    assert longer.usage.input_tokens == found.usage.input_tokens + len("system: Be kind.|")


def test_the_events_have_their_order_and_numbers(client: openai.OpenAI) -> None:
    events = list(client.responses.create(model="reciter", input="Hi", stream=True))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert "".join(event.delta for event in events[4:-4]) == ANSWER
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.output_text == ANSWER


def test_what_is_cut_is_incomplete(client: openai.OpenAI) -> None:
    found = client.responses.create(model="reciter", input="Hi", max_output_tokens=4)
    assert found.status == "incomplete"
    assert found.incomplete_details.reason == "max_output_tokens"
    assert found.output_text == ANSWER[:4]


@pytest.mark.parametrize(
    "asked",
    [
        {"previous_response_id": "resp-1"},
        {"background": True},
        {"extra_body": {"n": 2}},
        {"tools": [{"type": "web_search"}]},
        {"text": {"format": "json"}},
        {"input": [{"type": "function_call_output", "call_id": "a", "output": "b"}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
    ],
)
def test_what_is_not_served_is_refused(client: openai.OpenAI, asked: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError, match="not supported"):
        client.responses.create(**{"model": "reciter", "input": "Hi", **asked})


def test_options_of_other_streams_are_told_to_be_ignored(client: openai.OpenAI) -> None:
    asked: Any = {"model": "reciter", "input": "Hi", "stream": True}
    told = client.responses.with_raw_response.create(
        **asked, extra_body={"stream_options": {"include_onesec": True}}
    )
    assert told.headers["x-onesec-ignored"] == "stream_options"
    assert "x-onesec-ignored" not in client.responses.with_raw_response.create(**asked).headers
