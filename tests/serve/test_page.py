"""The page at `/`: its files and headers, who may have them, and what it asks the server for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live import HI, TEXT, Live, live

import onesec.serve
from onesec.serve.door import Terms
from onesec.serve.files import page
from onesec.serve.limits import Bounds, key_digest
from onesec.serve.recent import Done, Recent

FOLDER = Path(onesec.serve.__file__).parent / "page"
MOST_BYTES = 150_000
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def locked() -> Iterator[Live]:
    bounds = Bounds(hosts=frozenset({"127.0.0.1"}), keys=(key_digest("one"),))
    with live(bounds=bounds) as server:
        yield server


def texts() -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in sorted(FOLDER.iterdir())}


def test_every_file_is_served_and_all_of_them_are_small() -> None:
    served = {path.rpartition("/")[2] or "index.html" for path in page()}
    assert served == set(texts())
    assert sum(len(file.body) for file in page().values()) < MOST_BYTES


@pytest.mark.parametrize("path", sorted(page()))
def test_files_come_without_a_key_and_keep_a_browser_to_this_server(
    locked: Live, path: str
) -> None:
    with locked.client() as client:
        response = client.get(path)
        assert response.status_code == 200
        assert response.content == page()[path].body
        policy = dict(
            part.strip().partition(" ")[::2]
            for part in response.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        for kind in ("script-src", "style-src", "connect-src"):
            assert policy[kind] == "'self'"
        assert "unsafe" not in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        again = client.get(path, headers={"if-none-match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        weak = {"if-none-match": f'"another", W/{response.headers["etag"]}'}  # through a proxy
        assert client.get(path, headers=weak).status_code == 304
        assert client.get(path, headers={"if-none-match": "*"}).status_code == 304
        other = client.get(path, headers={"if-none-match": '"another"'})
        assert other.content == response.content
        assert client.head(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/page/main.js"])
def test_another_name_does_not_get_the_page(locked: Live, path: str) -> None:
    with locked.client(headers={"Host": "evil.example"}) as client:
        assert client.get(path).status_code == 403


@pytest.mark.parametrize(
    "path", ["/page/", "/page/none.js", "/page/../app.py", "/page/%2e%2e/app.py"]
)
def test_nothing_else_of_the_folder_is_served(reciter: Live, path: str) -> None:
    with reciter.client() as client:
        assert client.get(path).status_code == 404


def test_a_server_can_be_without_the_page() -> None:
    bounds = Bounds(keys=(key_digest("one"),))
    with live(terms=Terms(page=False), bounds=bounds) as server, server.client() as client:
        assert client.get("/").status_code == 401
        assert client.get("/", headers={"Authorization": "Bearer one"}).status_code == 404


def test_what_the_page_asks_for_needs_the_key(locked: Live) -> None:
    with locked.client() as client:
        for path in ("/v1/onesec/load", "/props"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"Authorization": "Bearer one"}).status_code == 200


def test_no_file_names_another_place() -> None:
    for name, text in texts().items():
        # The names of XML vocabularies are no addresses: nothing is fetched from them.
        rest = text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", rest), name
        assert "@import" not in text, name


def test_text_goes_in_as_text_and_scripts_are_files() -> None:
    for name, text in texts().items():
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert way not in text, (name, way)
        if name.endswith(".html"):
            assert re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL) == [""]
            assert not re.search(r"\son[a-z]+=|\sstyle=|<style", text)


def test_both_languages_have_the_same_words() -> None:
    text = texts()["words.js"]
    halves = re.split(r"^  (?:en|zh): \{$", text, flags=re.MULTILINE)[1:]
    said = [dict(re.findall(r"^    (\w+): (\".*\"),$", half, re.MULTILINE)) for half in halves]
    assert len(said) == 2
    assert list(said[0]) == list(said[1])
    for key, words in said[0].items():
        assert sorted(re.findall(r"\{\d\}", words)) == sorted(
            re.findall(r"\{\d\}", said[1][key])
        ), key
    assert all(json.loads(words) for half in said for words in half.values())


def test_every_word_that_is_said_is_there() -> None:
    known = set(re.findall(r"^    (\w+): \"", texts()["words.js"], re.MULTILINE))
    for name, text in texts().items():
        for pattern in (
            r"data-say(?:-\w+)?=\"(\w+)\"",
            r"\b(?:say|tell\([^;]*?\)|tell\(\w+), ?\"(\w+)\"",
        ):
            for key in re.findall(pattern, text):
                assert key in known, (name, key)


def luminance(colour: str) -> float:
    """WCAG 2: relative luminance of #rrggbb."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_words_stand_out_from_what_they_stand_on(mode: int) -> None:
    found = re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", texts()["style.css"])
    colours = {name: luminance(both[mode]) for name, *both in found}
    for words in ("ink", "soft", "good", "bad", "warm"):
        for ground in ("paper", "raised", "faint"):
            low, high = sorted((colours[words], colours[ground]))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (words, ground)


# -- what a stream tells of its tokens -----------------------------------------------------------


def stream(server: Live, path: str = CHAT, **body: Any) -> list[dict[str, Any]]:
    asked = {"stream": True, "stream_options": {"include_onesec": True}, **body}
    with server.client() as client:
        lines = client.post(path, json=asked).text.splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def test_a_stream_tells_the_plan_then_each_token_then_the_events(reciter: Live) -> None:
    chunks = stream(reciter, messages=HI, deadline_ms=5000, logprobs=True)
    plan = chunks[0]["onesec"]
    assert 0 < plan["likely_ms"] <= plan["predicted_ms"] <= 5000
    tokens = [token for chunk in chunks for token in chunk.get("onesec", {}).get("tokens", [])]
    shown = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert "".join(token["text"] for token in tokens) == shown == TEXT.partition("assistant: ")[2]
    assert [token["index"] for token in tokens] == list(range(len(tokens)))
    told = chunks[-1]["onesec"]
    counts: dict[str, int] = {}
    for token in tokens:
        counts[token["gear"]] = counts.get(token["gear"], 0) + 1
        assert 0 <= token["confidence"] <= 1
    assert counts == told["gears"]
    times = [token["at_ms"] for token in tokens]
    assert times == sorted(times)
    assert times[-1] <= told["elapsed_ms"]
    kinds = [event["kind"] for event in told["events"]]
    assert (kinds[0], kinds[-1]) == ("plan", "stop")


def test_a_stream_tells_nothing_of_it_where_nobody_asked(reciter: Live) -> None:
    chunks = stream(reciter, messages=HI, stream_options=None)
    assert not any("onesec" in chunk for chunk in chunks[:-1])
    assert "events" not in chunks[-1]["onesec"]


def test_confidence_is_told_only_with_log_probabilities(reciter: Live) -> None:
    chunks = stream(reciter, path="/v1/completions", prompt="user: Hi|", max_tokens=4)
    tokens = [token for chunk in chunks for token in chunk.get("onesec", {}).get("tokens", [])]
    assert len(tokens) == 4
    assert all("confidence" not in token and token["gear"] for token in tokens)


# -- the last requests ---------------------------------------------------------------------------


def test_the_load_tells_of_answers_and_refusals_and_no_word_of_them() -> None:
    with live(terms=Terms(max_open=1)) as server, server.client() as client:
        client.post(CHAT, json={"messages": HI, "deadline_ms": 5000})
        client.post(CHAT, json={"messages": HI})
        client.post(CHAT, json={"messages": HI, "deadline_ms": 0.001})
        client.post(CHAT, json={"messages": [{"role": "user", "content": ""}], "temperature": -1})
        response = client.get("/v1/onesec/load")
    load = response.json()
    assert [done["met"] for done in load["recent"]] == [True, None, None]
    assert [done["ending"] for done in load["recent"]][2] == "deadline_infeasible"
    assert [done["budget_ms"] for done in load["recent"]] == [5000, None, 0.001]
    assert load["minute"]["met"] == 1
    assert load["minute"]["answers"] == 2
    assert load["minute"]["refused"] == 1
    assert load["minute"]["hit_rate"] == 1.0
    assert load["state"] == "ready"
    assert (load["running"], load["waiting"], load["open"], load["max_open"]) == (0, 0, 0, 1)
    assert "Hello" not in response.text


def test_an_application_is_one_request() -> None:
    with live() as server, server.client() as client:
        body = {"question": "Hi", "knowledge": [{"text": "The end."}], "deadline_ms": 60_000}
        client.post("/v1/apps/support", json=body)
        [done] = client.get("/v1/onesec/load").json()["recent"]
    assert (done["path"], done["budget_ms"]) == ("/v1/apps/support", 60_000)
    assert (done["met"], done["ending"]) == (True, "natural")


def one(**more: Any) -> Done:
    values = {"path": CHAT, "budget_ms": 500.0, "elapsed_ms": 400.0, "met": True}
    return Done(**{**values, "ending": "natural", "tokens": 10, **more})


def test_the_minute_forgets_and_the_last_hundred_stay() -> None:
    recent, second = Recent(0), 10**9
    for i in range(150):
        recent.add(one(met=i % 3 != 0), i * second)
    view = recent.view(149 * second)
    late = sum(i % 3 == 0 for i in range(90, 150))
    assert view["minute"]["missed"] == late
    assert view["minute"]["met"] == 60 - late
    assert view["minute"]["hit_rate"] == pytest.approx((60 - late) / 60)
    assert view["minute"]["goodput_tokens_per_s"] == pytest.approx(10 * (60 - late) / 60)
    assert len(view["recent"]) == 100
    assert [done["age_ms"] for done in view["recent"]][-2:] == [1000, 0]
    empty = recent.view(10_000 * second)
    assert empty["minute"]["hit_rate"] is None
    assert empty["minute"]["answers"] == 0
    assert len(empty["recent"]) == 100


def test_what_was_late_or_left_is_no_goodput() -> None:
    recent, second = Recent(0), 10**9
    for done in (one(), one(met=False), one(met=None), one(ending="left", met=None)):
        recent.add(done, 30 * second)
    minute = recent.view(59 * second)["minute"]
    assert (minute["answers"], minute["left"]) == (3, 1)
    assert minute["goodput_answers_per_s"] == pytest.approx(2 / 59)
    assert recent.view(80 * second)["minute"]["goodput_answers_per_s"] == pytest.approx(2 / 60)


def test_a_server_that_has_just_begun_counts_its_own_seconds() -> None:
    recent, second = Recent(100 * 10**9), 10**9
    recent.add(one(), 100 * second)
    assert recent.view(100 * second)["minute"]["goodput_answers_per_s"] == 1.0
    assert recent.view(104 * second)["minute"]["goodput_answers_per_s"] == 0.25
