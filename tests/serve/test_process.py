"""The whole command: two processes, the shipped model, signals, exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

pytest.importorskip("onesec._native")

from serving import Served, served, start

from onesec.cli.main import EXIT_MODEL, EXIT_USAGE
from onesec.serve.server import spawn

PATH = "/v1/chat/completions"
ASKED = {"messages": [{"role": "user", "content": "When do you open?"}], "deadline_ms": 5000}


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served("--budget", "10s") as found:
        yield found


def post(server: Served, body: dict[str, Any], path: str = PATH) -> httpx.Response:
    return httpx.post(server.url + path, json=body, timeout=60)


def test_it_prints_its_promise(server: Served) -> None:
    promise = r"gear \S+, 1 user: first token ≤ [\d.]+ ms, 64 tokens ≤ [\d.]+ ms \(p95"
    assert re.search(promise, "".join(server.said))


def test_an_answer_says_what_became_of_its_budget(server: Served) -> None:
    body = post(server, ASKED).json()
    told = body["onesec"]
    assert body["choices"][0]["message"]["content"]
    assert told["budget_ms"] == 5000.0
    assert told["met"] == (told["elapsed_ms"] <= 5000.0)
    assert told["gears"]
    assert told["resources"]["bytes_read"] > 0
    default = post(server, {"messages": ASKED["messages"]}).json()
    assert default["onesec"]["budget_ms"] == 10_000.0


def test_a_stream_says_what_a_whole_answer_says(server: Served) -> None:
    asked = {"messages": ASKED["messages"], "gear": "8", "temperature": 0}
    whole = post(server, asked).json()["choices"][0]["message"]["content"]
    lines = post(server, {**asked, "stream": True}).text.split("\n\n")
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    text = "".join(e["choices"][0]["delta"].get("content", "") for e in events)
    assert text == whole


def test_vectors_of_like_texts_are_near_and_the_same_each_time(server: Served) -> None:
    texts = [
        "When do you open in the morning?",
        "When do you open on Sunday?",
        "今天的天气很好，我们去公园。",
    ]
    first, again = (
        post(server, {"input": given}, "/v1/embeddings").json()["data"]
        for given in (texts, texts[::-1])
    )
    one, like, other = (np.array(data["embedding"]) for data in first)
    np.testing.assert_array_equal(one, again[2]["embedding"])
    np.testing.assert_allclose([one @ one, like @ like, other @ other], 1.0, rtol=1e-5)
    assert one @ like > one @ other


@pytest.mark.parametrize(
    "more",
    [
        {"logit_bias": {"999999999": 5}},
        {"logit_bias": {"0": -100, "5119": 100}, "temperature": 1.0},
        {"stop_token_ids": [0, 5119]},
        {"stop_token_ids": [2147483647]},
        {"frequency_penalty": 2, "repetition_penalty": 100, "temperature": 100},
        {"top_k": 2147483647, "temperature": 1},
        {"min_tokens": 5, "max_tokens": 5},
        {"min_p": 1, "top_p": 1e-300, "temperature": 1e-300},
        {"seed": 2**63 - 1, "temperature": 2},
    ],
)
def test_values_at_their_edges_harm_nobody(server: Served, more: dict[str, Any]) -> None:
    golden = {"messages": ASKED["messages"], "gear": "8", "temperature": 0, "max_tokens": 8}
    before = post(server, golden).json()["choices"][0]["message"]["content"]
    assert post(server, {"messages": ASKED["messages"], "max_tokens": 8, **more}).status_code < 500
    assert post(server, golden).json()["choices"][0]["message"]["content"] == before


def test_the_document_does_as_it_says(server: Served) -> None:
    text = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
    [code] = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)
    exec(code.replace("http://127.0.0.1:8000", server.url), {"print": lambda *_: None})
    asked = re.findall(r"^\$ curl -s http://127.0.0.1:8000(\S+) .* -d '(.*)'$", text, re.M)
    assert len(asked) == 5
    for path, body in asked:
        response = post(server, json.loads(body), path)
        assert response.status_code in (200, 422), response.text
        assert "onesec" in response.json()


@pytest.mark.skipif(find_spec("llguidance") is None, reason="needs llguidance")
def test_an_answer_has_the_form_that_was_asked_for(server: Served) -> None:
    properties = {"open": {"type": "boolean"}, "reply": {"type": "string"}}
    schema = {"type": "object", "properties": properties, "required": ["open", "reply"]}
    schema["additionalProperties"] = False
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    for limit in (60, 12):  # also where it is cut short
        asked = {**ASKED, "response_format": form, "max_tokens": limit}
        [choice] = post(server, asked).json()["choices"]
        found = json.loads(choice["message"]["content"])
        assert set(found) == {"open", "reply"}
        assert isinstance(found["open"], bool)
    flat = {"type": "json_schema", "name": "a", "schema": schema}
    asked = {"input": "When do you open?", "text": {"format": flat}}
    [item] = post(server, asked, "/v1/responses").json()["output"]
    assert set(json.loads(item["content"][0]["text"])) == {"open", "reply"}


def test_log_probabilities_over_http_are_those_of_the_library(server: Served) -> None:
    from onesec import LLM

    prompts = ["The blue kettle is 34 dollars.", "你好，我们九点开门。"]
    asked = {"echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0, "gear": "8"}
    with LLM("onesec-mini", threads=1) as llm:
        for prompt in prompts:
            tokens = llm.tokenizer.encode(prompt)
            body = post(server, {**asked, "prompt": [tokens]}, "/v1/completions").json()
            found = body["choices"][0]["logprobs"]["token_logprobs"]
            known = llm.generate(tokens, max_tokens=1, prompt_logprobs=True, gear="8")
            expected = known.prompt_logprobs[1:]
            assert found[1 : len(tokens)] == pytest.approx(expected, abs=1e-3)


def test_a_killed_engine_ends_requests_and_the_server() -> None:
    with served() as found:
        children = Path(f"/proc/{found.process.pid}/task/{found.process.pid}/children").read_text()
        [engine] = [int(child) for child in children.split()]
        asked = {"prompt": "Once", "max_tokens": 100_000, "ignore_eos": True, "stream": True}
        url = f"{found.url}/v1/completions"
        with httpx.stream("POST", url, json=asked, timeout=60) as response:
            lines = response.iter_lines()
            assert next(lines).startswith("data: ")
            os.kill(engine, signal.SIGKILL)
            rest = [line for line in lines if line]
        assert "engine_closed" in rest[-2]
        assert found.end() == 1
        assert "The engine process ended" in "".join(found.said)


@pytest.mark.parametrize("tell", [os.kill, os.killpg])
def test_sigterm_lets_what_runs_end_and_exits_0(tell: Any) -> None:
    with served() as found:
        asked = {"prompt": "Once", "max_tokens": 60, "ignore_eos": True, "stream": True}
        url = f"{found.url}/v1/completions"
        with httpx.stream("POST", url, json=asked, timeout=60) as response:
            lines = response.iter_lines()
            assert next(lines).startswith("data: ")
            tell(found.process.pid, signal.SIGTERM)  # it leads a group of its own
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert json.loads(rest[-2][6:])["choices"][0]["finish_reason"] == "length"
        assert found.end() == 0


def test_the_engine_is_deaf_to_the_groups_signals_from_its_start() -> None:
    process, ours = spawn()
    status = Path(f"/proc/{process.pid}/status").read_text()
    ours.close()
    process.wait(60)
    [blocked] = re.findall(r"^SigBlk:\s*(\w+)$", status, re.MULTILINE)
    for number in (signal.SIGTERM, signal.SIGINT):
        assert int(blocked, 16) >> (number - 1) & 1
        assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def run(*words: str) -> tuple[int, str]:
    process = start(*words)
    said = process.communicate(timeout=60)[1]
    return process.returncode, said


def test_it_says_why_it_cannot_start(server: Served, tmp_path: Path) -> None:
    code, said = run("no-such-folder/model", "--port", "0")
    assert code == EXIT_MODEL
    assert said.count("\n") == 1
    port = server.url.rpartition(":")[2]
    code, said = run("onesec-mini", "--port", port)
    assert code == EXIT_USAGE
    assert f"Port {port}" in said
    code, said = run("onesec-mini", "--port", "0", "--host", "0.0.0.0")
    assert code == EXIT_USAGE
    assert "--insecure" in said
    empty = tmp_path / "keys"
    empty.write_text("\n\n")
    code, said = run("onesec-mini", "--api-key-file", str(empty))
    assert code == EXIT_USAGE
    assert "no key" in said
    marked = tmp_path / "marked"
    marked.write_text("\ufeffone\n", encoding="utf-8")  # as some editors begin a file
    code, said = run("onesec-mini", "--api-key-file", str(marked))
    assert code == EXIT_USAGE
    assert "ASCII" in said
