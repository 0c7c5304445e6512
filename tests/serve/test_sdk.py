"""OpenAI's own client, unmodified: its base URL is changed, and one field is added."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from live import ANSWER, HI, Live, live

from onesec.serve.door import Terms
from onesec.serve.limits import Bounds, key_digest


def sdk(server: Live, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", **options)


def test_one_answer(reciter: Live) -> None:
    with sdk(reciter) as client:
        answer = client.chat.completions.create(
            model="reciter", messages=HI, extra_body={"deadline_ms": 300}
        )
    assert answer.choices[0].message.content == ANSWER
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == len(ANSWER)
    assert answer.model_extra["onesec"]["met"] is True
    assert answer._request_id.startswith("req-")


def test_a_stream(reciter: Live) -> None:
    with sdk(reciter) as client:
        chunks = list(
            client.chat.completions.create(
                model="reciter", messages=HI, stream=True, stream_options={"include_usage": True}
            )
        )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == ANSWER
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage.completion_tokens == len(ANSWER)
    assert chunks[-2].model_extra["onesec"]["ending"] == "natural"


def test_the_streaming_helper_accumulates(reciter: Live) -> None:
    with (
        sdk(reciter) as client,
        client.chat.completions.stream(model="reciter", messages=HI) as stream,
    ):
        final = stream.get_final_completion()
    assert final.choices[0].message.content == ANSWER


def test_many_at_once(reciter: Live) -> None:
    async def ask() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{reciter.url}/v1", api_key="none") as client:

            async def one() -> str | None:
                stream = await client.chat.completions.create(
                    model="reciter", messages=HI, stream=True
                )
                return "".join([c.choices[0].delta.content or "" async for c in stream])

            return await asyncio.gather(*(one() for _ in range(20)))

    assert asyncio.run(ask()) == [ANSWER] * 20


def test_completions_and_models(reciter: Live) -> None:
    with sdk(reciter) as client:
        assert [model.id for model in client.models.list()] == ["reciter"]
        answer = client.completions.create(model="reciter", prompt="user", logprobs=1)
        assert answer.choices[0].text == reciter.backend.text[4:20]  # OpenAI's own default of 16
        assert len(answer.choices[0].logprobs.tokens) == 16


def test_errors_have_their_classes(reciter: Live) -> None:
    with sdk(reciter, max_retries=0) as client:
        with pytest.raises(openai.UnprocessableEntityError) as caught:
            client.chat.completions.create(
                model="reciter", messages=HI, extra_body={"deadline_ms": 2}
            )
        assert caught.value.code == "deadline_infeasible"
        offer = caught.value.body["feasible_ms"]
        answer = client.chat.completions.create(
            model="reciter", messages=HI, extra_body={"deadline_ms": offer}
        )
        assert answer.model_extra["onesec"]["met"] is True
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="other", messages=HI)
        with pytest.raises(openai.BadRequestError) as bad:
            client.chat.completions.create(model="reciter", messages=HI, temperature=-1)
        assert bad.value.type == "invalid_request_error"


def test_a_wrong_key_is_an_authentication_error() -> None:
    with live(bounds=Bounds(keys=(key_digest("right"),))) as server:
        with sdk(server) as client, pytest.raises(openai.AuthenticationError):
            client.models.list()
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="right") as client:
            assert client.models.list().data


def test_a_refusal_that_cannot_get_better_is_not_tried_again(reciter: Live) -> None:
    tries = count(reciter, "deadline_infeasible")
    with sdk(reciter, max_retries=5) as client, pytest.raises(openai.UnprocessableEntityError):
        client.chat.completions.create(model="reciter", messages=HI, extra_body={"deadline_ms": 2})
    assert count(reciter, "deadline_infeasible") == tries + 1


def test_a_full_queue_is_tried_again_and_told() -> None:
    with live(terms=Terms(max_open=1)) as server:
        before = count(server, "queue_full")
        server.backend.gate.clear()
        with sdk(server, max_retries=1) as client:
            asked: Any = {"model": "reciter", "messages": HI}
            with client.chat.completions.create(**asked, stream=True) as held:
                next(held)
                with pytest.raises(openai.RateLimitError):
                    client.chat.completions.create(**asked)
            server.backend.gate.set()
        assert count(server, "queue_full") == before + 2
        with server.client() as client:
            assert "onesec_client_retries_total 1.0" in client.get("/metrics").text


def count(server: Live, reason: str) -> int:
    with server.client() as client:
        text = client.get("/metrics").text
    wanted = f'onesec_requests_total{{reason="{reason}"}} '
    return int(sum(float(line[len(wanted) :]) for line in text.split("\n") if wanted in line))
