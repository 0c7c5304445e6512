"""/v1/embeddings: forms of input and output, limits and deadlines, over a model whose hidden states
are known: the sum of a chunk's tokens, their count, and where the chunk began."""

from __future__ import annotations

import base64
import threading
from typing import Any

import doors
import numpy as np
import openai
import pytest
from live import Live, live

from onesec.serve.door import Terms

PATH = "/v1/embeddings"
TEXTS = ["Hi", "The garden is green.", "x" * 40]


def expected(text: str) -> np.ndarray:
    """Of a text that is one chunk: (mean token, 1, 0), scaled to length 1."""
    mean = np.array([sum(map(ord, text)) / len(text), 1.0, 0.0])
    return mean / np.linalg.norm(mean)


def ask(server: Live, given: Any, **more: Any) -> dict[str, Any]:
    with server.client() as client:
        reply = client.post(PATH, json={"input": given, **more})
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_openais_client_gets_vectors_of_length_one(reciter: Live) -> None:
    with openai.OpenAI(base_url=f"{reciter.url}/v1", api_key="none") as client:
        found = client.embeddings.create(model="reciter", input=TEXTS)  # as base64
        plain = client.embeddings.create(model="reciter", input=TEXTS, encoding_format="float")
    assert [data.index for data in found.data] == [0, 1, 2]
    for data, other, text in zip(found.data, plain.data, TEXTS, strict=True):
        np.testing.assert_allclose(data.embedding, expected(text), rtol=1e-6)
        assert data.embedding == other.embedding
    tokens = sum(map(len, TEXTS))
    assert found.usage.prompt_tokens == found.usage.total_tokens == tokens
    assert found.model_extra["onesec"]["gears"] == {"8": tokens}


def test_base64_is_little_endian_float32(reciter: Live) -> None:
    [data] = ask(reciter, TEXTS[1], encoding_format="base64")["data"]
    vector = np.frombuffer(base64.b64decode(data["embedding"]), dtype="<f4")
    np.testing.assert_allclose(vector, expected(TEXTS[1]), rtol=1e-6)


def test_token_ids_are_their_text(reciter: Live) -> None:
    ids = [[ord(c) for c in text] for text in TEXTS]
    assert ask(reciter, ids)["data"] == ask(reciter, TEXTS)["data"]
    assert ask(reciter, ids[0])["data"] == ask(reciter, TEXTS[0])["data"]


def test_a_long_text_is_read_in_chunks_and_its_mean_is_one() -> None:
    with live() as server:
        text = "ab" * 250
        [data] = ask(server, text)["data"]
        mean = np.array(data["embedding"])
        np.testing.assert_allclose(mean[0] / mean[1], sum(map(ord, text)) / len(text), rtol=1e-6)


def test_many_inputs_keep_their_order(reciter: Live) -> None:
    texts = [chr(97 + number % 26) * (1 + number % 5) for number in range(100)]
    data = ask(reciter, texts)["data"]
    assert len(data) == 100
    for found, text in zip(data, texts, strict=True):
        np.testing.assert_allclose(found["embedding"], expected(text), rtol=1e-6)
    assert reciter.door.held == 0


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "dimensions": 2}, "dimensions"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": ""}, None),
        ({"input": "a", "gear": "5"}, None),
        ({"input": "x" * 512}, None),
    ],
)
def test_what_cannot_be_done_is_told(
    reciter: Live, asked: dict[str, Any], param: str | None
) -> None:
    with reciter.client() as client:
        reply = client.post(PATH, json=asked)
        assert reply.status_code == 400
        found = reply.json()["error"]["param"]
        assert found is param or found.startswith(param or "")
    assert ask(reciter, "a", dimensions=3)["data"]


def test_a_batch_that_cannot_be_in_time_is_refused_as_a_whole() -> None:
    texts = ["word " * 20] * 30  # 100 tokens each: 20 ms in gear 8
    with live() as server, server.client() as client:
        before = server.backend.forwards
        refused = client.post(PATH, json={"input": texts, "deadline_ms": 300})
        assert refused.status_code == 422
        assert server.backend.forwards == before  # nothing was computed
        offer = refused.json()["onesec"]["feasible_ms"]
        assert offer >= 30 * 20
        told = ask(server, texts, deadline_ms=offer)["onesec"]
        assert told["met"] is True
        assert told["elapsed_ms"] <= offer
        cheaper = ask(server, texts, deadline_ms=offer, gear="4")["onesec"]
        assert cheaper["elapsed_ms"] < told["elapsed_ms"]


@pytest.mark.parametrize("ms", [1, 60])  # refused unread, and after it was read
def test_what_never_fits_is_offered_no_time(ms: float) -> None:
    with live() as server, server.client() as client:
        for given in ("word " * 120, ["short", "word " * 120], ["word " * 100, [97] * 512]):
            error = client.post(PATH, json={"input": given, "deadline_ms": ms}).json()["error"]
            assert error["code"] == "context_length_exceeded"
            assert "feasible_ms" not in error


def test_a_late_vector_is_no_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "PREFILL_MS", 0.2)  # so that a chunk of 100 ms has 250 tokens
    with live() as server, server.client() as client:
        server.backend.slowness = 5.0
        # Two chunks, of which the first takes all the time and more.
        reply = client.post(PATH, json={"input": "x" * 510, "deadline_ms": 300})
        assert reply.status_code == 504
        assert reply.json()["error"]["code"] == "deadline_missed"
        assert reply.headers["x-should-retry"] == "false"
        [*_, done] = server.door.recent.view(server.clock.now_ns())["recent"]
        assert (done["path"], done["met"], done["budget_ms"]) == (PATH, False, 300.0)
        assert server.door.held == 0


def test_answers_go_on_beside_a_large_batch() -> None:
    with live(terms=Terms(max_open=40)) as server:
        replies: list[int] = []

        def embed() -> None:
            replies.append(len(ask(server, ["garden"] * 200)["data"]))

        asking = threading.Thread(target=embed)
        asking.start()
        with server.client() as client:
            hi = [{"role": "user", "content": "Hi"}]
            for _ in range(10):
                reply = client.post("/v1/chat/completions", json={"messages": hi})
                assert reply.status_code == 200
        asking.join(60)
        assert replies == [200]


def test_a_small_server_takes_inputs_one_after_the_other() -> None:
    with live(terms=Terms(max_open=3)) as server:
        assert len(ask(server, ["garden"] * 20)["data"]) == 20
        ask(server, "garden", deadline_ms=1000)
        [*_, done] = server.door.recent.view(server.clock.now_ns())["recent"]
        assert (done["path"], done["met"], done["ending"]) == (PATH, True, "natural")
        assert server.door.held == 0


def test_a_backend_without_hidden_states_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from doors import Reciter

    monkeypatch.delattr(Reciter, "hidden_size")
    with live() as server, server.client() as client:
        assert client.get("/props").json()["embedding_size"] is None
        assert client.post(PATH, json={"input": "a"}).status_code == 400
