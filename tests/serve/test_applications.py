"""The application routes: the same results as in the library, within a budget."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
from doors import recite
from live import Live, live

from onesec.apps import Answer, Entry, Summarize, Support, Translate
from onesec.llm import LLM

# Long enough for every prompt: the model goes on where the prompt ends.
TEXT = "The shop opens at nine. It closes at six. Delivery costs $5. Call us. " * 8
SOURCE = "早上好。我们九点开门。"
ARTICLE = "The shop opens at nine. Delivery costs $5. It is in Berlin."
NOTES = [{"id": "open", "text": "We open at nine.", "title": "Hours"}]
PATH_TRANSLATE = "/v1/apps/translate"
ASKED: dict[str, dict[str, Any]] = {
    "translate": {"text": SOURCE},
    "support": {"question": "When do you open?", "knowledge": NOTES},
    "answer": {"question": "When does the shop open?", "text": ARTICLE},
    "summarize": {"text": ARTICLE, "length": "one sentence"},
}


def in_the_library(name: str) -> dict[str, Any]:
    loaded, clock, _ = recite(TEXT)
    with LLM.over(loaded, clock=clock) as llm:
        results: dict[str, Any] = {
            "translate": lambda: Translate(llm, clock=clock)(SOURCE, 5.0),
            "support": lambda: Support(
                llm, [Entry("open", "We open at nine.", "Hours")], clock=clock
            ).ask("When do you open?", 5.0),
            "answer": lambda: Answer(llm, clock=clock)("When does the shop open?", ARTICLE, 5.0),
            "summarize": lambda: Summarize(llm, clock=clock)(ARTICLE, "one sentence", 5.0),
        }
        return asdict(results[name]())


@pytest.fixture(scope="module")
def shop() -> Iterator[Live]:
    with live(TEXT) as server:
        yield server


@pytest.mark.parametrize("name", ASKED)
def test_the_result_is_the_librarys(shop: Live, name: str) -> None:
    with shop.client() as client:
        body = client.post(f"/v1/apps/{name}", json={**ASKED[name], "deadline_ms": 5000}).json()
    told = body.pop("onesec")
    assert told["met"] is True
    assert told["budget_ms"] == 5000.0
    assert told["endings"]
    expected = in_the_library(name)
    assert body["text"] == expected["text"]
    assert body["text"]
    assert body.keys() == expected.keys() - {"reply"}


@pytest.mark.parametrize("name", ASKED)
def test_an_impossible_budget_comes_back_with_an_offer(shop: Live, name: str) -> None:
    path = f"/v1/apps/{name}"
    with shop.client() as client:
        refused = client.post(path, json={**ASKED[name], "deadline_ms": 2})
        assert refused.status_code == 422
        offer = refused.json()["onesec"]
        assert offer["budget_ms"] == 2.0
        body = client.post(path, json={**ASKED[name], "deadline_ms": offer["feasible_ms"]}).json()
    assert body["onesec"]["met"] is True


def streamed(shop: Live, name: str, **more: Any) -> tuple[int, list[dict[str, Any]]]:
    """The status, and the events' values; that they end with [DONE] was looked at."""
    asked = {**ASKED[name], "deadline_ms": 5000, "stream": True, **more}
    with shop.client() as client:
        reply = client.post(f"/v1/apps/{name}", json=asked)
    if reply.headers["content-type"].startswith("application/json"):
        return reply.status_code, [reply.json()]
    *lines, done = [line for line in reply.text.split("\n\n") if line]
    assert done == "data: [DONE]"
    return reply.status_code, [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.mark.parametrize("name", ASKED)
def test_a_stream_ends_with_what_is_told_at_once(shop: Live, name: str) -> None:
    status, [*parts, whole] = streamed(shop, name)
    assert status == 200
    told = whole.pop("onesec")
    assert told["met"] is True
    expected = in_the_library(name)
    assert whole.keys() == expected.keys() - {"reply"}
    assert whole["text"] == expected["text"]
    shown: dict[int, str] = {}
    for event in parts:
        shown[event["part"]] = shown.get(event["part"], "") + event["delta"]
    if name == "translate":
        assert [text.strip() for text in shown.values()] == [s["text"] for s in whole["sentences"]]
    else:
        assert [text.strip() for text in shown.values()] == [whole["text"]]
    assert len(parts) > len(shown)  # it grew
    shop.wait(shop.door.idle.wait())


def test_the_parts_of_a_long_summary_are_not_shown() -> None:
    with live(TEXT) as server:
        long = "\n\n".join(f"{ARTICLE} Shop {number} is blue." for number in range(40))
        _, [*parts, whole] = streamed(server, "summarize", text=long, deadline_ms=60_000)
    assert whole["calls"] > 1
    assert whole["merged"]
    assert len({event["part"] for event in parts}) == 1
    assert "".join(event["delta"] for event in parts).strip() == whole["text"]


@pytest.mark.parametrize("name", ASKED)
def test_a_stream_that_cannot_be_in_time_is_refused_before_it_begins(shop: Live, name: str) -> None:
    status, [body] = streamed(shop, name, deadline_ms=2)
    assert status == 422
    assert body["error"]["code"] == "deadline_infeasible"
    assert body["onesec"]["budget_ms"] == 2.0
    status, [*_, whole] = streamed(shop, name, deadline_ms=body["onesec"]["feasible_ms"])
    assert whole["onesec"]["met"] is True
    assert streamed(shop, name, model="other")[0] == 404
    shop.wait(shop.door.idle.wait())


def test_who_leaves_a_stream_gives_the_place_back(shop: Live) -> None:
    asked = {**ASKED["translate"], "text": SOURCE * 20, "deadline_ms": 60_000, "stream": True}
    with shop.client() as client, client.stream("POST", PATH_TRANSLATE, json=asked) as reply:
        assert next(reply.iter_lines()).startswith('data: {"part":0')
    shop.wait(shop.door.idle.wait())
    assert shop.door.runner.open == 0


def test_without_a_budget_an_application_has_its_own(shop: Live) -> None:
    with shop.client() as client:
        body = client.post("/v1/apps/translate", json={"text": SOURCE}).json()
    assert body["onesec"]["budget_ms"] == 1000.0


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("translate", {"text": ""}),
        ("translate", {}),
        ("translate", {"text": SOURCE, "to": "fr"}),
        ("summarize", {"text": ARTICLE, "length": "a mile"}),
        ("support", {"question": " ", "knowledge": NOTES}),
        ("answer", {"question": "x " * 400, "text": ARTICLE}),
        ("support", {"question": "x", "knowledge": [{"text": "y"}] * 1001}),
    ],
)
def test_what_cannot_be_done_is_told(shop: Live, name: str, asked: dict[str, Any]) -> None:
    with shop.client() as client:
        assert client.post(f"/v1/apps/{name}", json=asked).status_code == 400


def test_applications_run_beside_each_other(shop: Live) -> None:
    texts: list[str] = []

    def ask() -> None:
        with shop.client() as client:
            asked = {**ASKED["answer"], "deadline_ms": 60_000}
            texts.append(client.post("/v1/apps/answer", json=asked).json()["text"])

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert texts == [in_the_library("answer")["text"]] * 6
    assert shop.door.held == 0
