"""What load generators (vllm bench serve, GuideLLM, AIPerf) send and count on, as they do it: by
aiohttp, an event after the other, with `ignore_eos` and exact counts of tokens."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from serving import Served

pytest.importorskip("aiohttp")

import aiohttp

pytestmark = pytest.mark.clients

TOKENS = 40
COMMON = {
    "model": "onesec-tools",
    "temperature": 0,
    "stream": True,
    "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    "ignore_eos": True,
}
CASES = {
    "/v1/completions": {"prompt": "We open at", "max_tokens": TOKENS},
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "When do you open?"}]}],
        "max_completion_tokens": TOKENS,
    },
}


async def streamed(url: str, body: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The events up to [DONE], and what stood behind them."""
    found: list[dict[str, Any]] = []
    behind = ""
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as reply:
        assert reply.status == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        done = False
        async for line in reply.content:
            text = line.decode().strip()
            if not text or text.startswith(":"):
                continue
            value = text.removeprefix("data: ")
            if done:
                behind += value
            elif value == "[DONE]":
                done = True
            else:
                found.append(json.loads(value))
        assert done
    return found, behind


@pytest.mark.parametrize("path", CASES)
def test_every_token_is_counted(server: Served, path: str) -> None:
    events, behind = asyncio.run(streamed(server.url + path, {**COMMON, **CASES[path]}))
    assert behind == ""
    assert len({event["id"] for event in events}) == 1
    *growing, last = events
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == TOKENS
    counts = [event["usage"]["completion_tokens"] for event in growing]
    assert counts == sorted(counts)
    assert counts[-1] == TOKENS
    assert len(set(counts)) > TOKENS // 8  # no more tokens an event than one call computes
    texts = [
        (choice.get("delta") or {}).get("content") or choice.get("text")
        for event in growing
        for choice in event["choices"]
    ]
    assert "".join(text for text in texts if text)


def test_many_at_once_have_their_own_streams(server: Served) -> None:
    body = {**COMMON, **CASES["/v1/completions"]}

    async def ask() -> list[tuple[list[dict[str, Any]], str]]:
        return await asyncio.gather(
            *(streamed(f"{server.url}/v1/completions", body) for _ in range(12))
        )

    found = asyncio.run(ask())
    assert all(events[-1]["usage"]["completion_tokens"] == TOKENS for events, _ in found)
    texts = {
        "".join(choice["text"] for event in events for choice in event["choices"])
        for events, _ in found
    }
    assert len(texts) == 1  # greedy answers do not depend on their neighbours


def test_what_they_look_for_first(server: Served) -> None:
    async def get(path: str) -> Any:
        async with aiohttp.ClientSession() as session, session.get(server.url + path) as reply:
            assert reply.status == 200
            return await reply.json()

    assert asyncio.run(get("/health"))["status"] == "ok"
    [card] = asyncio.run(get("/v1/models"))["data"]
    assert card["id"] == "onesec-tools"
    assert card["max_model_len"] > 0
