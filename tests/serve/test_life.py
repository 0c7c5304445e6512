"""What becomes of requests when clients leave, the server is told to stop, or the engine dies."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from live import ANSWER, HI, TEXT, Live, live

from onesec.core.deadline import Budget
from onesec.core.errors import InvalidRequest
from onesec.core.request import Request, SamplingParams
from onesec.serve.answers import Wanted
from onesec.serve.limits import Call, ClientGone
from onesec.serve.server import Place, address_of, listen

PATH = "/v1/chat/completions"
HI_60S = {"messages": HI, "deadline_ms": 60_000}


def send(server: Live, body: dict[str, Any], path: str = PATH) -> socket.socket:
    """A request on a socket of its own, its answer unread."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    sock.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return sock


def in_thread(do: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(do()))
    thread.start()
    return thread, found


async def heard(server: Live) -> None:
    """The engine has answered something that it was asked now, while it computes."""
    flow = server.door.runner.flow()
    await flow.room(Request(id="room", prompt_tokens=(1,)), 0.0)
    flow.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("asked", [HI_60S, {"messages": HI}])
def test_a_client_that_leaves_frees_its_place_within_a_step(
    stream: bool, asked: dict[str, Any]
) -> None:
    with live() as server:
        server.backend.gate.clear()
        server.backend.reached.clear()
        before = server.backend.forwards
        sock = send(server, {**asked, "stream": stream})
        assert server.backend.reached.wait(30)  # in its prompt
        sock.close()
        server.wait(server.door.idle.wait())  # the door has noticed, and told the engine,
        server.wait(heard(server))  # which hears one thing after the other
        server.backend.gate.set()
        with server.client() as client:
            assert client.post(PATH, json={"messages": HI}).status_code == 200
            counts = client.get("/metrics").text
        # Its one prompt, and then all of the second request (a prompt, and a step a token).
        assert server.backend.forwards - before <= 1 + 2 + len(ANSWER)
        assert 'onesec_requests_total{reason="cancelled"} 1.0' in counts
        timed = float("deadline_ms" in asked)
        assert f'onesec_deadline_total{{outcome="cancelled"}} {timed}' in counts


def test_a_client_that_leaves_before_its_prompt_is_read_is_counted() -> None:
    with live() as server, server.client() as client:
        call = Call("req-1", server.door.clock.now_ns(), PATH, {})
        call.leave()
        wanted = Wanted(call=call, budget=Budget(total_ms=60_000.0), params=SamplingParams())
        with pytest.raises(ClientGone):
            server.wait(server.door.prepared(wanted, lambda _: None))
        counts = client.get("/metrics").text
        assert 'onesec_requests_total{reason="cancelled"} 1.0' in counts
        assert 'onesec_deadline_total{outcome="cancelled"} 1.0' in counts


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        (PATH, {"messages": HI}),
        ("/v1/apps/translate", {"text": "早上好。"}),
        ("/v1/apps/translate", {"text": "早上好。", "stream": True}),
        ("/v1/embeddings", {"input": "garden"}),
    ],
)
def test_who_leaves_is_among_the_last_requests(path: str, asked: dict[str, Any]) -> None:
    with live(20 * TEXT) as server, server.client() as client:
        server.backend.gate.clear()
        server.backend.reached.clear()
        sock = send(server, {**asked, "deadline_ms": 60_000}, path)
        assert server.backend.reached.wait(30)
        sock.close()
        server.wait(server.door.idle.wait())
        server.backend.gate.set()
        load = client.get("/v1/onesec/load").json()
    [done] = load["recent"]
    assert (done["path"], done["ending"], done["budget_ms"]) == (path, "left", 60_000)
    assert load["minute"]["left"] == 1


def test_who_looks_at_a_server_that_drains_was_refused_nothing() -> None:
    with live() as server, server.client() as client:
        server.soon(lambda: setattr(server.door, "draining", True))
        assert client.get("/readyz").status_code == 503
        assert client.get("/v1/onesec/load").json()["recent"] == []
        assert 'reason="draining"' not in client.get("/metrics").text


def test_a_drain_ends_what_runs_and_refuses_what_comes() -> None:
    with live() as server, server.client() as client:
        server.backend.gate.clear()
        server.backend.reached.clear()
        thread, found = in_thread(lambda: client.post(PATH, json={"messages": HI}))
        assert server.backend.reached.wait(30)
        server.soon(server.server.drain)
        with server.client() as other:
            refused = other.post(PATH, json={"messages": HI})
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "draining"
            assert refused.headers["retry-after-ms"]
            assert other.post("/tokenize", json={"prompt": "x"}).status_code == 503
            assert other.get("/readyz").status_code == 503
            assert other.get("/livez").status_code == 200
        server.backend.gate.set()
        thread.join(30)
        assert found[0].json()["choices"][0]["message"]["content"] == ANSWER
        server.served.join(30)
        assert not server.served.is_alive()


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/apps/translate", {"text": "早上好。我们九点开门。再见。", "deadline_ms": 60_000}),
        ("/v1/embeddings", {"input": ["garden"] * 40}),
    ],
)
def test_what_asks_the_engine_several_times_ends_too(path: str, asked: dict[str, Any]) -> None:
    with live(20 * TEXT) as server, server.client() as client:
        server.backend.gate.clear()
        server.backend.reached.clear()
        thread, found = in_thread(lambda: client.post(path, json=asked))
        assert server.backend.reached.wait(30)
        server.soon(server.server.drain)
        server.backend.gate.set()
        thread.join(30)
        assert found[0].status_code == 200
        server.served.join(30)
        assert not server.served.is_alive()


def test_a_second_signal_ends_streams_with_an_error() -> None:
    with live() as server, server.client() as client:
        server.backend.gate.clear()
        asked = {"messages": HI, "stream": True}
        with client.stream("POST", PATH, json=asked) as response:
            lines = response.iter_lines()
            assert "assistant" in next(lines)
            server.soon(server.server.drain)
            server.soon(server.server.drain)
            rest = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        assert rest[-1]["error"]["code"] == "draining"


def test_a_server_whose_engine_hangs_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    with live() as server, server.client() as client:
        for silent_s, status in ((9.0, 200), (11.0, 503)):
            monkeypatch.setattr(server.door.runner, "silent_s", lambda s=silent_s: s)
            assert client.get("/livez").status_code == status
            ready = client.get("/readyz")
            assert ready.status_code == status
        assert ready.json()["error"]["code"] == "engine_closed"
        assert "has not answered for 11 s" in ready.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_when_the_engine_dies_open_requests_end_and_so_does_the_server(stream: bool) -> None:
    with live(place=Place(port=0)) as server, server.client() as client:
        server.backend.gate.clear()
        server.backend.reached.clear()
        asked = {"messages": HI, "stream": stream}
        thread, found = in_thread(lambda: client.post(PATH, json=asked))
        assert server.backend.reached.wait(30)
        server.engine_socket.shutdown(socket.SHUT_RDWR)
        thread.join(30)
        [response] = found
        assert "engine_closed" in response.text
        assert response.status_code == (200 if stream else 503)
        server.wait(server.door.runner.ended.wait())
        with server.client() as other:
            assert other.get("/livez").status_code == 503
            assert (
                other.post(PATH, json={"messages": HI}).json()["error"]["code"] == "engine_closed"
            )
        server.backend.gate.set()


def test_an_error_of_the_backend_is_one_requests_alone() -> None:
    with live() as server, server.client() as client:
        server.backend.raise_at[server.backend.forwards + 2] = RuntimeError("at 0xdeadbeef")
        response = client.post(PATH, json={"messages": HI})
        assert response.status_code == 500
        assert response.json()["error"]["code"] == "internal_error"
        assert "0x" not in response.text
        body = client.post(PATH, json={"messages": HI}).json()
        assert body["choices"][0]["message"]["content"] == ANSWER


def test_an_error_in_a_stream_is_an_event() -> None:
    with live() as server, server.client() as client:
        server.backend.raise_at[server.backend.forwards + 3] = RuntimeError("on fire")
        asked = {"messages": HI, "stream": True}
        text = client.post(PATH, json=asked).text
        last = json.loads(text.strip().split("\n\n")[-2].removeprefix("data: "))
        assert last["error"]["code"] == "internal_error"
        assert "fire" not in text


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        (PATH, {"messages": HI}),
        ("/v1/responses", {"input": "Hi"}),
        ("/v1/apps/translate", {"text": "早上好。", "deadline_ms": 60_000}),
    ],
)
def test_an_error_in_a_stream_is_counted_and_logged(
    caplog: pytest.LogCaptureFixture, path: str, asked: dict[str, Any]
) -> None:
    caplog.set_level("INFO")
    with live(20 * TEXT) as server, server.client() as client:
        server.backend.raise_at[server.backend.forwards + 3] = RuntimeError("on fire")
        response = client.post(path, json={**asked, "stream": True})
        assert response.status_code == 200
        counted = client.get("/metrics").text
    assert 'onesec_requests_total{reason="internal_error"} 1.0' in counted
    assert f"{response.headers['x-request-id']} refused: internal_error" in caplog.text


def test_the_log_has_no_word_of_a_prompt(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    secret = "the word is swordfish"
    with live() as server, server.client() as client:
        client.post(PATH, json={"messages": [{"role": "user", "content": secret}]})
        client.post(PATH, json={"messages": [{"role": secret, "content": secret}]})
        client.post("/v1/completions", json={"prompt": secret, "deadline_ms": 1})
        assert "swordfish" not in client.get("/metrics").text
    assert "refused: deadline_infeasible" in caplog.text
    assert "swordfish" not in caplog.text


def test_health_and_what_is_told(reciter: Live) -> None:
    with reciter.client() as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/livez").status_code == 200
        assert [m["id"] for m in client.get("/v1/models").json()["data"]] == ["reciter"]
        assert client.get("/v1/models/reciter").json()["max_model_len"] == 512
        assert client.get("/v1/models/other").status_code == 404
        told = client.get("/props").json()
        assert told["gears"] == ["4", "8"]
        assert [promise["gear"] for promise in told["promises"]] == ["4", "8"]
        tokens = client.post("/tokenize", json={"prompt": "abc"}).json()
        assert (tokens["tokens"], tokens["count"]) == ([97, 98, 99], 3)
        said = [{"role": role, "content": "Hi"} for role in ("system", "developer")]
        one, other = (client.post("/tokenize", json={"messages": [each]}).json() for each in said)
        assert one["tokens"] == other["tokens"]  # as a chat reads them
        text = client.post("/detokenize", json={"tokens": tokens["tokens"]}).json()
        assert text == {"prompt": "abc"}
        assert client.post("/detokenize", json={"tokens": [-1]}).status_code == 400
        assert "eos_token" in client.get("/tokenizer_info").json()
        assert client.get("/nothing").json()["error"]["code"] == "not_found"
        assert client.get(PATH).json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", [f"{PATH}/", "/livez/"])
def test_a_slash_too_many_is_an_error_and_no_way_back_to_plain_http(
    reciter: Live, path: str
) -> None:
    with reciter.client() as client:
        reply = client.post(path, json={"messages": HI}, headers={"x-forwarded-proto": "https"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")


def test_a_slow_moment_does_not_refuse_for_ever() -> None:
    with live() as server, server.client() as client:
        asked = {"messages": HI, "deadline_ms": 60}
        assert client.post(PATH, json=asked).status_code == 200
        server.backend.slowness = 20.0
        for _ in range(8):
            client.post(PATH, json={"messages": HI})
        assert client.post(PATH, json=asked).status_code == 422
        server.backend.slowness = 1.0
        statuses = []
        for _ in range(200):
            statuses.append(client.post(PATH, json=asked).status_code)
            server.clock.advance_ms(100.0)
        assert statuses[-1] == 200
        # And what it learned by itself is nobody's answer.
        assert client.post(PATH, json=asked).json()["onesec"]["ending"] in ("natural", "landed")


def test_an_address_is_a_url() -> None:
    for name, address in (
        (("127.0.0.1", 8000), "http://127.0.0.1:8000"),
        (("::1", 8000, 0, 0), "http://[::1]:8000"),
    ):
        listening: Any = SimpleNamespace(getsockname=lambda name=name: name)
        assert address_of(listening) == address


def test_a_host_that_can_be_no_name_is_said_to_be_none() -> None:
    with pytest.raises(InvalidRequest, match=r"of ä\.\.b cannot be used"):
        listen(Place(host="ä..b", port=0))


def test_small_writes_are_sent_at_once(reciter: Live) -> None:
    with reciter.client() as client:
        client.get("/livez")
        [connection] = reciter.server._state.connections
        sock = connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_metrics_have_their_names(reciter: Live) -> None:
    with reciter.client() as client:
        client.post(PATH, json={"messages": HI, "deadline_ms": 500})
        client.post(PATH, json={"messages": HI, "deadline_ms": 2})
        text = client.get("/metrics").text
    for name in (
        "onesec_request_seconds_bucket",
        "onesec_ttft_seconds_bucket",
        "onesec_tpot_seconds_bucket",
        "onesec_queue_seconds_bucket",
        "onesec_deadline_slack_seconds_bucket",
        "onesec_predicted_minus_actual_seconds_bucket",
        'onesec_deadline_total{outcome="met"}',
        'onesec_deadline_total{outcome="infeasible"}',
        'onesec_tokens_total{kind="answer"}',
        "onesec_kv_cache_usage",
        "onesec_build_info",
    ):
        assert name in text
    assert "req-" not in text
