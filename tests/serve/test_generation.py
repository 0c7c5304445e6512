"""The generating routes over HTTP: what is answered, and in which order."""

from __future__ import annotations

import asyncio
import codecs
import json
from types import SimpleNamespace
from typing import Any

import doors
import httpx
import pytest
from live import ANSWER, HI, TEXT, Live, live

from onesec.output import GrowingText
from onesec.serve import generation, responses
from onesec.serve.answers import Choice
from onesec.serve.door import Terms
from onesec.serve.replies import Form
from onesec.serve.schema import ChatRequest, parse
from onesec.serve.stream import PING, growing

PATH = "/v1/chat/completions"


def events(response: httpx.Response) -> list[Any]:
    """The events of a stream, parsed, [DONE] as text."""
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in response.text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    found = [line.removeprefix("data: ") for line in lines]
    return [line if line == "[DONE]" else json.loads(line) for line in found]


def test_a_chat_is_answered_whole(reciter: Live) -> None:
    with reciter.client() as client:
        body = client.post(PATH, json={"model": "reciter", "messages": HI}).json()
    [choice] = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": ANSWER, "refusal": None}
    assert choice["finish_reason"] == "stop"
    usage = body["usage"]
    assert usage["prompt_tokens"] == len("user: Hi|assistant: ")
    assert usage["completion_tokens"] == len(ANSWER)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert body["object"] == "chat.completion"
    assert body["onesec"]["ending"] == "natural"
    assert body["onesec"]["met"] is None


def test_newer_names_are_understood(reciter: Live) -> None:
    asked = {"messages": HI, "max_tokens": 9, "max_completion_tokens": 3}
    rules = {"role": "developer", "content": "Be brief."}
    with reciter.client() as client:
        body = client.post(PATH, json=asked).json()
        assert client.post(PATH, json={"messages": [rules, *HI]}).status_code == 200
    assert body["choices"][0]["message"]["content"] == ANSWER[:3]


@pytest.mark.parametrize("with_usage", [False, True])
def test_the_order_of_a_stream_is_openais(reciter: Live, with_usage: bool) -> None:
    asked: dict[str, Any] = {"messages": HI, "stream": True}
    if with_usage:
        asked["stream_options"] = {"include_usage": True}
    with reciter.client() as client:
        found = events(client.post(PATH, json=asked))
    assert found.pop() == "[DONE]"
    if with_usage:
        last = found.pop()
        assert last["choices"] == []
        assert last["usage"]["completion_tokens"] == len(ANSWER)
    first, *middle, finish = found
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert all(set(e["choices"][0]["delta"]) == {"content"} for e in middle)
    assert "".join(e["choices"][0]["delta"]["content"] for e in middle) == ANSWER
    assert finish["choices"][0]["delta"] == {}
    assert [e["choices"][0]["finish_reason"] for e in found] == [None] * (len(found) - 1) + ["stop"]
    assert finish["onesec"]["ending"] == "natural"
    for name in ("id", "created", "model"):
        assert len({e[name] for e in found}) == 1
    assert {e["object"] for e in found} == {"chat.completion.chunk"}
    assert all(("usage" in e) == with_usage for e in found)


def test_a_stream_and_a_whole_answer_say_the_same(reciter: Live) -> None:
    asked = {"prompt": TEXT[:10], "max_tokens": 30, "logprobs": 2}
    with reciter.client() as client:
        whole = client.post("/v1/completions", json=asked).json()["choices"][0]
        found = events(client.post("/v1/completions", json={**asked, "stream": True}))[:-1]
    parts = [e["choices"][0] for e in found]
    assert "".join(part["text"] for part in parts) == whole["text"] == TEXT[10:40]
    assert parts[-1]["finish_reason"] == whole["finish_reason"] == "length"
    lists = [part["logprobs"] for part in parts if part["logprobs"]]
    for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        assert [value for part in lists for value in part[name]] == whole["logprobs"][name]


def test_a_budget_is_kept_and_told(reciter: Live) -> None:
    with reciter.client() as client:
        body = client.post(PATH, json={"messages": HI, "deadline_ms": 40}).json()
    told = body["onesec"]
    assert told["budget_ms"] == 40.0
    assert told["elapsed_ms"] <= 40.0
    assert told["met"] is True
    assert told["ending"] == "landed"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert ANSWER.startswith(body["choices"][0]["message"]["content"])
    assert body["choices"][0]["message"]["content"][-1] in ".?"


def test_an_impossible_budget_is_refused_with_one_that_works(reciter: Live) -> None:
    with reciter.client() as client:
        refused = client.post(PATH, json={"messages": HI, "deadline_ms": 3})
        assert refused.status_code == 422
        assert refused.headers["x-should-retry"] == "false"
        assert refused.json()["error"]["code"] == "deadline_infeasible"
        offer = refused.json()["onesec"]
        assert offer["budget_ms"] == 3.0
        body = client.post(PATH, json={"messages": HI, "deadline_ms": offer["feasible_ms"]}).json()
    assert body["onesec"]["met"] is True


def test_a_header_is_a_budget_and_the_body_goes_before_it(reciter: Live) -> None:
    with reciter.client(headers={"x-deadline-ms": "50"}) as client:
        by_header = client.post(PATH, json={"messages": HI}).json()
        by_body = client.post(PATH, json={"messages": HI, "deadline_ms": 90}).json()
    assert by_header["onesec"]["budget_ms"] == 50.0
    assert by_body["onesec"]["budget_ms"] == 90.0


def test_several_answers_have_their_own_places(reciter: Live) -> None:
    asked = {"messages": HI, "n": 3, "stream": True}
    with reciter.client() as client:
        found = events(client.post(PATH, json=asked))[:-1]
        whole = client.post(PATH, json={"messages": HI, "n": 3}).json()
    for index in range(3):
        parts = [e["choices"][0] for e in found if e["choices"][0]["index"] == index]
        assert parts[0]["delta"]["role"] == "assistant"
        assert parts[-1]["finish_reason"] == "stop"
        assert "".join(part["delta"].get("content", "") for part in parts) == ANSWER
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    assert whole["usage"]["completion_tokens"] == 3 * len(ANSWER)
    assert whole["usage"]["prompt_tokens"] == len("user: Hi|assistant: ")


def test_echo_tells_the_prompts_log_probabilities(reciter: Live) -> None:
    prompts = [[ord(c) for c in TEXT[:4]], [ord(c) for c in TEXT[:7]]]
    asked = {"prompt": prompts, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    with reciter.client() as client:
        body = client.post("/v1/completions", json=asked).json()
    for prompt, choice in zip(prompts, body["choices"], strict=True):
        logprobs = choice["logprobs"]
        assert choice["text"] == TEXT[: len(prompt) + 1]
        assert logprobs["token_logprobs"][0] is None
        # The model of this test gives a prompt's token minus its id.
        assert logprobs["token_logprobs"][1:-1] == [-float(token) for token in prompt[1:]]
        assert len(logprobs["tokens"]) == len(prompt) + 1
        assert logprobs["text_offset"] == list(range(len(prompt) + 1))


def test_echo_without_alternatives_tells_the_prompts_all_the_same(reciter: Live) -> None:
    asked = {"prompt": TEXT[:4], "echo": True, "logprobs": 0, "max_tokens": 2}
    with reciter.client() as client:
        choice = client.post("/v1/completions", json=asked).json()["choices"][0]
    assert choice["text"] == TEXT[:6]
    assert choice["logprobs"]["token_logprobs"][1:4] == [-float(ord(c)) for c in TEXT[1:4]]
    assert choice["logprobs"]["top_logprobs"] == [None, *({c: -ord(c)} for c in TEXT[1:4]), {}, {}]


def test_echo_of_a_prompt_that_there_was_no_time_to_read_is_a_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doors, "PREFILL_MS", 0.2)  # so that a chunk of 100 ms has 250 tokens
    asked = {"prompt": "x" * 500, "echo": True, "logprobs": 1, "max_tokens": 4}
    with live("x" * 600) as server, server.client() as client:
        server.backend.slowness = 5.0
        asked |= {"deadline_ms": 300}
        response = client.post("/v1/completions", json=asked)
    assert response.status_code == 200
    values = response.json()["choices"][0]["logprobs"]["token_logprobs"]
    known = values.index(None, 1)
    assert values == [None, *[-float(ord("x"))] * (known - 1), *[None] * (500 - known)]


def test_chat_logprobs_have_their_bytes(reciter: Live) -> None:
    asked = {"messages": HI, "logprobs": True, "top_logprobs": 1, "max_tokens": 2}
    with reciter.client() as client:
        choice = client.post(PATH, json=asked).json()["choices"][0]
    for found, expected in zip(choice["logprobs"]["content"], ANSWER[:2], strict=True):
        assert found["token"] == expected
        assert found["bytes"] == list(expected.encode())
        assert found["top_logprobs"][0]["token"] == expected


def test_stop_strings_never_show(reciter: Live) -> None:
    asked = {"messages": HI, "stop": "How", "stream": True}
    with reciter.client() as client:
        found = events(client.post(PATH, json=asked))[:-1]
    text = "".join(e["choices"][0]["delta"].get("content", "") for e in found)
    assert text == "Hello. "
    assert found[-1]["onesec"]["stop_reason"] == "How"


def test_fields_that_are_not_known_are_named(reciter: Live) -> None:
    asked = {"messages": HI, "mirostat": 2, "user": "me", "x\r\ny": 1}
    with reciter.client() as client:
        response = client.post(PATH, json=asked)
    assert response.status_code == 200
    assert response.headers["x-onesec-ignored"] == "mirostat"
    with reciter.client() as client:
        many = client.post(PATH, json={"messages": HI, **{f"field_{i}": 1 for i in range(99)}})
    assert len(many.headers["x-onesec-ignored"].split(", ")) == 16


def test_who_lets_others_go_first() -> None:
    for asked, yields in (
        ({}, False),
        ({"priority": 1}, True),
        ({"priority": 0}, False),
        ({"priority": -3}, False),
        ({"service_tier": "flex"}, True),
        ({"service_tier": "auto"}, False),
    ):
        body = json.dumps({"messages": HI, **asked}).encode()
        assert parse(body, ChatRequest)[0].yields is yields, asked


def test_where_nothing_comes_for_long_a_line_is_sent_that_clients_skip() -> None:
    class Slow:
        choices = (SimpleNamespace(last=None),)
        calls = 0

        async def grow(self) -> str:
            self.calls += 1
            if self.calls == 1:
                raise TimeoutError
            self.choices[0].last = "the end"
            return "grown"

    async def told() -> list[Any]:
        answers: Any = Slow()
        return [found async for found in growing(answers)]

    assert asyncio.run(told()) == [(PING, None), (b"", "grown")]


WIDE = {"type": "json_schema", "schema": {"const": 10**30}}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "empty_prompt"),
    ({"messages": HI, "temperature": -1}, "invalid_request"),
    ({"messages": HI, "temperature": "hot"}, "invalid_request"),
    ({"messages": HI, "temperature": True}, "invalid_request"),
    ({"messages": HI, "n": 0}, "invalid_request"),
    ({"messages": HI, "n": 9}, "invalid_request"),
    ({"messages": HI, "max_tokens": 0}, "invalid_request"),
    ({"messages": HI, "top_logprobs": 21}, "invalid_request"),
    ({"messages": HI, "deadline_ms": 0}, "invalid_request"),
    ({"messages": HI, "deadline_ms": -5}, "invalid_request"),
    ({"messages": HI, "gear": "5"}, "unknown_gear"),
    ({"messages": HI, "logit_bias": {"-1": 1}}, "invalid_request"),
    ({"messages": HI, "logit_bias": {"1": 1e9}}, "invalid_request"),
    ({"messages": HI, "logit_bias": {"1" * 5000: 1}}, "invalid_request"),
    ({"messages": HI, "seed": 2**63}, "invalid_request"),
    *(({"messages": HI, name: 10**400}, "invalid_request") for name in ("seed", "top_k")),
    ({"messages": HI, "response_format": WIDE}, "invalid_request"),
    ({"messages": HI, "stop": ["x"] * 17}, "invalid_request"),
    ({"messages": [{"role": "cook", "content": "x"}]}, "invalid_request"),
    ({"messages": [{"role": "user", "content": "x" * 600}]}, "context_length_exceeded"),
    ({"messages": HI, "model": "gpt-9"}, "model_not_found"),
    ({}, "invalid_request"),
]


@pytest.mark.parametrize(("asked", "code"), BAD)
def test_what_is_out_of_range_is_refused(reciter: Live, asked: dict[str, Any], code: str) -> None:
    with reciter.client() as client:
        response = client.post(PATH, json=asked)
        assert response.json()["error"]["code"] == code
        assert response.status_code == (404 if code == "model_not_found" else 400)
        assert response.headers["x-should-retry"] == "false"
        canary = client.post(PATH, json={"messages": HI}).json()
    assert canary["choices"][0]["message"]["content"] == ANSWER


@pytest.mark.parametrize(
    ("param", "value"), [("logit_bias", {"1114112": 1}), ("stop_token_ids", [5, 1114112])]
)
@pytest.mark.parametrize("path", [PATH, "/v1/completions", "/v1/responses"])
def test_a_token_beyond_the_vocabulary_is_refused_by_its_field(
    reciter: Live, path: str, param: str, value: Any
) -> None:
    asked = {"messages": HI, "prompt": "Hi", "input": "Hi", param: value}
    with reciter.client() as client:
        response = client.post(path, json=asked)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_request", param)
    assert "1114112" in error["message"]


@pytest.mark.parametrize("prompt", [[], [1, "a"], [[1], 2], [-1], [1 << 31], [1 << 40]])
def test_prompts_that_are_none_are_refused(reciter: Live, prompt: Any) -> None:
    with reciter.client() as client:
        response = client.post("/v1/completions", json={"prompt": prompt})
    assert response.status_code == 400


def test_more_than_may_be_open_are_refused_before_any_work() -> None:
    with (
        live(terms=Terms(max_open=2)) as server,
        server.client() as client,
        server.client() as other,
    ):
        server.backend.gate.clear()
        with other.stream("POST", PATH, json={"messages": HI, "stream": True}) as open_one:
            lines = open_one.iter_lines()
            assert "assistant" in next(lines)  # it has one of the two places
            response = client.post(PATH, json={"messages": HI, "n": 2})
            assert response.status_code == 429
            assert response.headers["x-should-retry"] == "true"
            assert float(response.headers["retry-after-ms"]) > 0
            assert response.json()["error"]["code"] == "queue_full"
            assert server.soon(lambda: server.door.runner.open) == 1
            server.backend.gate.set()
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert client.post(PATH, json={"messages": HI, "n": 2}).status_code == 200
        server.wait(server.door.idle.wait())
        assert server.door.held == 0


@pytest.mark.parametrize(("ms", "retry"), [("150", "false"), ("1500", "true")])
def test_who_has_no_place_hears_whether_there_is_time_for_another_try(ms: str, retry: str) -> None:
    """Its body has not been read: what its head says of its time counts."""
    with live(terms=Terms(max_open=1)) as server, server.client() as client:
        server.backend.gate.clear()
        with (
            server.client() as other,
            other.stream("POST", PATH, json={"messages": HI, "stream": True}) as open_one,
        ):
            lines = open_one.iter_lines()
            assert "assistant" in next(lines)
            response = client.post(PATH, json={"messages": HI}, headers={"x-deadline-ms": ms})
            assert response.status_code == 429
            assert response.headers["x-should-retry"] == retry
            server.backend.gate.set()
            assert [line for line in lines if line][-1] == "data: [DONE]"


def test_more_than_can_ever_be_open_is_not_to_be_asked_again() -> None:
    with live(terms=Terms(max_open=2)) as server, server.client() as client:
        forwards = server.backend.forwards
        for path, asked in (
            (PATH, {"messages": HI, "n": 3}),
            ("/v1/completions", {"prompt": ["a", "b"], "n": 2}),
        ):
            response = client.post(path, json=asked)
            assert response.status_code == 400
            assert response.json()["error"]["code"] == "invalid_request"
            assert response.headers["x-should-retry"] == "false"
        assert server.backend.forwards == forwards
        assert server.door.held == 0


@pytest.mark.parametrize(("module", "path"), [(generation, PATH), (responses, "/v1/responses")])
def test_an_answer_that_cannot_be_encoded_gives_its_place_back(
    monkeypatch: pytest.MonkeyPatch, module: Any, path: str
) -> None:
    def fail(*_: Any) -> None:
        raise UnicodeEncodeError("utf-8", "", 0, 1, "half a pair")

    monkeypatch.setattr(module, "Whole", fail)
    with live() as server, server.client() as client:
        asked = {"messages": HI} if path == PATH else {"input": "Hi"}
        assert client.post(path, json=asked).status_code == 500
        assert server.door.held == 0


def test_echo_of_a_text_that_the_model_would_end_has_a_token_more() -> None:
    asked = {"prompt": "abc", "echo": True, "logprobs": 1, "max_tokens": 1}
    with live("abc") as server, server.client() as client:
        found = client.post("/v1/completions", json=asked).json()["choices"][0]["logprobs"]
    assert len(found["token_logprobs"]) == len(found["tokens"]) == 4
    assert found["token_logprobs"][1:3] == [-float(ord(c)) for c in "bc"]


def test_what_sdks_and_clients_add_to_messages_is_named_and_not_refused(reciter: Live) -> None:
    said = {"role": "assistant", "content": "Hello.", "parsed": {"a": 1}, "refusal": None}
    messages = [*HI, said, {**HI[0], "cache_control": {"type": "ephemeral"}}]
    with reciter.client() as client:
        response = client.post(PATH, json={"messages": messages})
    assert response.status_code == 200
    assert response.headers["x-onesec-ignored"] == "cache_control, parsed"


def test_seeds_may_be_negative(reciter: Live) -> None:
    with reciter.client() as client:
        for seed in (-1, -(2**63), 2**63 - 1):
            assert client.post(PATH, json={"messages": HI, "seed": seed}).status_code == 200


@pytest.mark.parametrize("path", [PATH, "/v1/responses"])
def test_an_error_on_the_way_is_an_event_whatever_it_is(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any) -> str:
        raise TypeError("private words")

    monkeypatch.setattr(Choice, "take", broken)
    given = {"input": "Hi"} if "responses" in path else {"messages": HI}
    with live() as server, server.client() as client:
        text = client.post(path, json={**given, "stream": True}).text
    assert "internal_error" in text
    assert "private words" not in text


def test_names_that_parts_of_characters_share_keep_the_likeliest() -> None:
    spelled = {1: b"a", 2: b"\xe9\xbe", 3: b"\x98", 4: b"\xe9\x80"}
    words = SimpleNamespace(token_bytes=lambda token: spelled[token])
    answers = SimpleNamespace(choices=[], wanted=SimpleNamespace(call=SimpleNamespace(id="r")))
    form = Form(answers, words, "m", chat=False)  # type: ignore[arg-type]
    top = [[(1, -0.1)], [(2, -0.2), (4, -3.0)], [(3, -0.3)], [(1, -0.1)]]
    found = form.text_logprobs([1, 2, 3, 1], [-0.1, -0.2, -0.3, -0.1], top)
    assert found["text_offset"] == [0, 1, 1, 2]  # "a龘a"
    assert found["top_logprobs"][1] == {"\ufffd": -0.2}


@pytest.mark.parametrize("stop", [None, "!"])
def test_a_text_goes_on_with_the_space_that_opens_its_answer(
    stop: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "Characters", doors.Marking)
    asked = {"prompt": "The capital is", "stop": stop, "max_tokens": 30}
    with live("The capital is Paris!") as server, server.client() as client:
        whole = client.post("/v1/completions", json=asked).json()["choices"][0]["text"]
        ids = client.post("/v1/completions", json={**asked, "prompt": [ord("T"), ord("h")]})
        said = client.post(PATH, json={"messages": HI, "max_tokens": 3}).json()
    assert whole == " Paris" + ("" if stop else "!")
    assert ids.json()["choices"][0]["text"] == "e capital is Paris" + ("" if stop else "!")
    assert not said["choices"][0]["message"]["content"].startswith(" ")


def test_a_part_of_a_character_is_never_text() -> None:
    stream = codecs.getincrementaldecoder("utf-8")("replace")
    decoder = SimpleNamespace(push=lambda byte: stream.decode(bytes([byte])))
    text = GrowingText(decoder)
    text.add([*"好".encode(), *"好".encode()[:2]], None)
    assert text.take() == text.text == "".join(text.pieces) == "好"
