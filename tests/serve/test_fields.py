"""Fields of a request that are OneSec's own, over HTTP: they mean what they mean in process."""

from __future__ import annotations

from typing import Any

import pytest
from doors import PREFILL_MS, STEP_MS
from live import ANSWER, HI, live

from onesec.core.request import Request
from onesec.engine.engine import Engine
from onesec.serve.door import Terms
from onesec.serve.newest import Crowded, Newest

PATH = "/v1/chat/completions"
LONG = " ".join(f"Entry {i} is about the garden." for i in range(12)) + " Where is the key?"


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The requests that reach the engine."""
    found: list[Request] = []
    add = Engine.add_request

    def noted(self: Engine, request: Request, **options: Any) -> Any:
        found.append(request)
        return add(self, request, **options)

    monkeypatch.setattr(Engine, "add_request", noted)
    return found


def test_they_reach_the_engine(taken: list[Request]) -> None:
    with live() as server, server.client() as client:
        asked = {
            "messages": [{"role": "user", "content": "Summarize this in 30 words: it rains."}],
            "policy": "fastest",
            "best_effort": True,
            "tpot_ms": 50,
            "deadline_ms": 5000,
        }
        reply = client.post(PATH, json=asked).json()
    request = taken[-1]
    assert (request.policy, request.best_effort, request.budget.tpot_ms) == ("fastest", True, 50)
    assert request.cues.task == "summary"
    assert request.cues.target_words == 30
    assert request.cues.source_tokens > 0
    assert reply["onesec"]["policy"] == "fastest"
    assert list(reply["onesec"]["gears"]) == ["4"]


def test_a_refusal_tells_which_budget() -> None:
    with live() as server, server.client() as client:
        for which, asked in {
            "ttft": {"ttft_ms": 0.1},
            "tpot": {"tpot_ms": 0.01},
            "total": {"deadline_ms": 0.5},
        }.items():
            reply = client.post(PATH, json={"messages": HI, **asked})
            assert reply.status_code == 422
            error, offer = reply.json()["error"], reply.json()["onesec"]
            assert error["which"] == offer["which"] == which
            [budget_ms] = asked.values()
            least_ms = STEP_MS["4"] if which == "tpot" else PREFILL_MS * len("user: Hi|")
            assert offer["budget_ms"] == budget_ms < least_ms <= offer["feasible_ms"]
            assert error["feasible_ms"] == offer["feasible_ms"]


def test_a_server_offers_no_budget_that_it_does_not_grant() -> None:
    least_ms = PREFILL_MS * len("user: Hi|")
    with live(terms=Terms(cap_ms=least_ms)) as server, server.client() as client:
        reply = client.post(PATH, json={"messages": HI, "deadline_ms": 60_000})
    assert (reply.status_code, reply.headers["x-should-retry"]) == (422, "false")
    assert "onesec" not in reply.json()
    assert f"grants {least_ms:g} ms" in reply.json()["error"]["message"]


def test_best_effort_is_never_refused_for_its_time() -> None:
    with live() as server, server.client() as client:
        asked = {"messages": HI, "deadline_ms": 3, "best_effort": True}
        reply = client.post(PATH, json=asked)
        assert reply.status_code == 200
        assert ANSWER.startswith(reply.json()["choices"][0]["message"]["content"])
        long = {"prompt": [97] * 400, "deadline_ms": 3, "best_effort": True}
        assert client.post("/v1/completions", json=long).status_code == 200


def test_a_prompt_is_shortened_with_leave_only(taken: list[Request]) -> None:
    messages = [{"role": "user", "content": LONG}]
    asked = {"messages": messages, "deadline_ms": 40, "max_tokens": 4}
    with live("x" * 2000) as server, server.client() as client:
        assert client.post(PATH, json=asked).status_code == 422
    with live("x" * 2000) as server, server.client() as client:
        reply = client.post(PATH, json={**asked, "fit": "extract"})
    assert reply.status_code == 200, reply.text
    fitted = reply.json()["onesec"]["fitted"]
    assert fitted["removed_chars"] > 0
    assert fitted["tokens_after"] == len(taken[-1].prompt_tokens) < len(LONG)
    assert "".join(map(chr, taken[-1].prompt_tokens)).endswith("Where is the key?|assistant: ")


def test_no_more_of_a_form_is_handed_on_than_was_limited(taken: list[Request]) -> None:
    form = {"name": "a", "schema": {"type": "object"}, "description": "x" * 100_000}
    asked = {"messages": HI, "response_format": {"type": "json_schema", "json_schema": form}}
    with live() as server, server.client() as client:
        client.post(PATH, json=asked)
    assert taken[-1].params.response_format == {"type": "json_schema", "schema": form["schema"]}


def test_a_prompt_that_is_too_long_is_not_handed_on(taken: list[Request]) -> None:
    with live() as server, server.client() as client:
        for path, asked in (
            ("/v1/completions", {"prompt": [[97], [97] * 512]}),
            ("/v1/completions", {"prompt": "a" * 512}),
            ("/v1/embeddings", {"input": [[97], [97] * 512]}),
            (PATH, {"messages": [{"role": "user", "content": "a" * 512}]}),
        ):
            before = len(taken)
            reply = client.post(path, json=asked)
            assert reply.json()["error"]["code"] == "context_length_exceeded"
            assert len(taken) == before


def test_a_text_that_never_fits_is_told_so_whatever_its_length(taken: list[Request]) -> None:
    """Clients that shorten and try again look for this code; a budget would be of no use."""
    with live() as server, server.client() as client:
        before = len(taken)
        for size in (20_000, 5 << 20):
            text = "a" * size
            for path, asked in (
                (PATH, {"messages": [{"role": "user", "content": text}]}),
                ("/v1/responses", {"input": text}),
                ("/v1/completions", {"prompt": text}),
                ("/v1/embeddings", {"input": ["short", text]}),
                ("/v1/embeddings", {"input": [[97], [97] * 20_000]}),
            ):
                error = client.post(path, json={**asked, "deadline_ms": 1}).json()["error"]
                assert error["code"] == "context_length_exceeded"
                assert "512, one of them for the answer" in error["message"]
        asked = {"messages": [{"role": "user", "content": "a" * (5 << 20)}], "fit": "drop_oldest"}
        error = client.post(PATH, json=asked).json()["error"]
        assert error["code"] == "invalid_request"
        assert "5242884 characters; at most 4194304" in error["message"]
        assert len(taken) == before


def test_where_an_error_came_from_that_no_client_can_mend_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    twice = "{{ messages[0].content * 9999999 }}"
    with live(template=twice) as server, server.client() as client:
        reply = client.post(PATH, json={"messages": [{"role": "user", "content": "secret"}]})
    assert reply.json()["error"]["code"] == "internal_error"
    assert "UnsupportedModel" in caplog.text
    assert "template.py:" in caplog.text
    assert "secret" not in caplog.text


def test_no_answer_repeats_a_long_value() -> None:
    with live() as server, server.client() as client:
        reply = client.post(PATH, json={"messages": HI, "policy": "x" * 100_000})
    assert reply.json()["error"]["param"] == "policy"
    assert len(reply.content) < 500


def test_only_what_no_cache_can_hold_is_refused_unread(taken: list[Request]) -> None:
    """400 tokens take 40 ms; where they may be cached only the engine knows."""
    path, ids = "/v1/completions", [97] * 400
    free = {"prompt": ids, "gear": "4", "max_tokens": 1}
    asked = {**free, "deadline_ms": 30}
    with live("a" * 500) as server, server.client() as client:
        before = len(taken)
        refused = client.post(path, json=asked)
        assert refused.status_code == 422
        assert refused.json()["onesec"]["feasible_ms"] >= 40
        assert len(taken) == before
        assert client.post(path, json=free).status_code == 200
        shorter = {"messages": HI, "max_tokens": 1}
        assert client.post(PATH, json=shorter).status_code == 200
        assert client.post(path, json=asked).json()["onesec"]["met"] is True
        before = len(taken)  # and what a cache would not tell
        assert client.post(path, json={**asked, "echo": True, "logprobs": 1}).status_code == 422
        vectors = {"input": [ids] * 2, "deadline_ms": 70, "gear": "4"}
        assert client.post("/v1/embeddings", json=vectors).status_code == 422
        assert len(taken) == before
        beside = {"messages": HI, "metadata": {"a": "x" * 10_000}, "deadline_ms": 40}
        assert client.post(PATH, json=beside).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"policy": "slow"},
        {"fit": "some"},
        {"tpot_ms": -1},
        {"best_effort": "yes"},
        {"gear": "4" * 65},
        {"min_gear": "4" * 65},
        {"stop_token_ids": [1] * 1025},
        {"temperature": -1},
        {"top_p": 0},
        {"top_p": 2},
        {"top_k": -1},
        {"min_p": 2},
        {"repetition_penalty": 0},
        {"presence_penalty": 3},
        {"frequency_penalty": 3},
        {"logit_bias": {"1": 101}},
        {"seed": 2**63},
        {"stop": ""},
        {"stop": ["x" * 257]},
        {"min_tokens": -1},
        {"min_tokens": 9, "max_tokens": 8},
        {"response_format": {"type": "grammar"}},
        {"response_format": {"type": "json_schema"}},
        {"gear": "5"},
        {"min_gear": "5"},
    ],
)
def test_values_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    with live() as server, server.client() as client:
        reply = client.post(PATH, json={"messages": HI, **wrong})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == next(iter(wrong))


def test_a_field_that_is_null_is_absent(taken: list[Request]) -> None:
    own = dict.fromkeys(("policy", "best_effort", "fit", "unknown", "temperature"))
    turn = {"add_generation_prompt": None, "continue_final_message": None}
    with live() as server, server.client() as client:
        reply = client.post(PATH, json={"messages": HI, **own, **turn})
        assert reply.json()["choices"][0]["message"]["content"] == ANSWER
        assert "x-onesec-ignored" not in reply.headers
        assert (taken[-1].policy, taken[-1].best_effort) == ("balanced", False)
        vector = {"input": "a", "encoding_format": None}
        assert client.post("/v1/embeddings", json=vector).status_code == 200
        text = {"text": "x", "glossary": None, "policy": None, "to": None}
        assert client.post("/v1/apps/translate", json=text).status_code == 200
        error = client.post(PATH, json={"messages": None}).json()["error"]
        assert "`messages`" in error["message"]


@pytest.mark.parametrize(
    ("path", "asked"), [("/tokenize", {"prompt": "a"}), ("/detokenize", {"tokens": [97]})]
)
def test_evaluation_tools_name_the_model_that_is_served(path: str, asked: dict[str, Any]) -> None:
    with live() as server, server.client() as client:
        assert client.post(path, json={**asked, "model": "reciter"}).status_code == 200
        error = client.post(path, json={**asked, "model": "gpt-9"}).json()["error"]
    assert error["code"] == "model_not_found"


def test_who_is_not_read_in_time_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(self: Newest, budget_ms: float | None) -> bool:
        raise Crowded(12)

    monkeypatch.setattr(Newest, "turn", never)
    with live() as server, server.client() as client:
        reply = client.post(PATH, json={"messages": HI, "deadline_ms": 5000})
    assert (reply.status_code, reply.headers["x-should-retry"]) == (429, "true")
    assert reply.json()["error"]["code"] == "queue_full"
    message = reply.json()["error"]["message"]
    assert "would not be read in time" in message
    assert "12 more wait" in message
    assert "limit" not in message


def test_a_response_format_of_another_type_is_refused() -> None:
    with live() as server, server.client() as client:
        asked = {"messages": HI, "response_format": {"type": "grammar"}}
        reply = client.post(PATH, json=asked)
        assert reply.status_code == 400
        plain = client.post(PATH, json={**asked, "response_format": {"type": "text"}})
        assert plain.status_code == 200


def test_an_offer_is_for_the_gear_that_was_asked_for() -> None:
    with live() as server, server.client() as client:
        for gear in server.door.ready.gears:
            body = {"messages": [{"role": "user", "content": gear * 60}], "gear": gear}
            refused = client.post(PATH, json={**body, "deadline_ms": 1})
            assert refused.status_code == 422
            offer = refused.json()["onesec"]["feasible_ms"]
            assert client.post(PATH, json={**body, "deadline_ms": offer}).status_code == 200


def test_an_offer_knows_how_slow_the_engine_is_now() -> None:
    with live() as server, server.client() as client:
        hello = {"messages": HI, "max_tokens": 30}
        server.backend.slowness = 4.0
        for _ in range(8):
            assert client.post(PATH, json=hello).status_code == 200
        body = {"messages": [{"role": "user", "content": "x" * 90}]}
        refused = client.post(PATH, json={**body, "deadline_ms": 1})
        offer = refused.json()["onesec"]["feasible_ms"]
        assert client.post(PATH, json={**body, "deadline_ms": offer}).status_code == 200


@pytest.mark.parametrize("fit", ["none", "extract"])
def test_who_is_late_at_the_door_is_refused_and_the_engine_not_blamed(
    fit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with live() as server, server.client() as client:

        async def late(_: float | None) -> bool:
            server.clock.advance_ms(5000.0)  # the time of its own threads
            return False

        monkeypatch.setattr(server.door.newest, "turn", late)
        body = {"messages": [{"role": "user", "content": "Hi. " * 20}], "fit": fit}
        told = client.post(PATH, json={**body, "deadline_ms": 200})
        assert (told.status_code, told.json()["error"]["code"]) == (422, "deadline_infeasible")
        assert told.json()["onesec"]["feasible_ms"] > 5000
