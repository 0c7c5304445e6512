"""What is refused before routing, on every route: Host, key, content type, sizes, slowness."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live import ANSWER, HI, Live, live

from onesec.serve.app import ROUTES
from onesec.serve.deadlines import budget_of
from onesec.serve.errors import ApiError
from onesec.serve.interpreting import LIVE
from onesec.serve.limits import Bounds, Call, key_digest
from onesec.serve.protocol import MAX_PIPELINED
from onesec.serve.schema import ChatRequest

PATH = "/v1/chat/completions"
JSON = "Content-Type: application/json\r\n"
LONG = "user: Hi|assistant: " + "word " * 90
MUCH = {"messages": HI, "stream": True, "n": 8, "logprobs": True, "top_logprobs": 1}


def canary(server: Live) -> None:
    """A normal request gets its normal answer."""
    with server.client() as client:
        body = client.post(PATH, json={"messages": HI}).json()
    assert body["choices"][0]["message"]["content"] == ANSWER


def talk(server: Live, data: bytes) -> bytes:
    """Send bytes and read until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return read_all(sock)


@contextmanager
def unread(
    server: Live, path: str, asked: dict[str, Any], connection: str = "close"
) -> Iterator[socket.socket]:
    """A request whose answer is read no further than its first byte, on a socket that hardly holds
    more of it."""
    data = json.dumps(asked).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n{JSON}"
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sock.settimeout(30)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        sock.recv(1)
        yield sock


async def first_byte(server: Live) -> None:
    """Something has come on a connection."""
    while not any(each._first_byte_ns for each in server.server._state.connections):
        await asyncio.sleep(0)


def read_all(sock: socket.socket) -> bytes:
    parts = []
    try:
        while part := sock.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


@pytest.fixture(scope="module")
def clients(reciter: Live) -> Iterator[httpx.Client]:
    with reciter.client() as client:
        yield client


@pytest.fixture(scope="module")
def locked() -> Iterator[Live]:
    hosts = frozenset({"127.0.0.1", "localhost", "::1"})
    bounds = Bounds(hosts=hosts, keys=(key_digest("one"), key_digest("two")), max_body_bytes=4096)
    with live(bounds=bounds) as server:
        yield server


@pytest.mark.parametrize(("method", "path"), [(m, p) for m, p, _ in ROUTES] + [("GET", "/x")])
def test_every_route_but_livez_needs_a_key(locked: Live, method: str, path: str) -> None:
    with locked.client() as client:
        for headers in ({}, {"Authorization": "Bearer three"}, {"Authorization": "Basic one"}):
            response = client.request(method, path, json={}, headers=headers)
            if path == "/livez":
                assert response.status_code == 200
            else:
                assert response.status_code == 401
                assert response.json()["error"]["code"] == "invalid_api_key"
                assert response.headers["www-authenticate"] == "Bearer"
            assert response.headers["x-request-id"]


@pytest.mark.parametrize("key", ["one", "two"])
def test_each_key_opens(locked: Live, key: str) -> None:
    with locked.client(headers={"Authorization": f"Bearer {key}"}) as client:
        assert client.post(PATH, json={"messages": HI}).status_code == 200
        assert client.get("/props", headers={"Authorization": f"bearer {key}"}).status_code == 200


HOSTS = {"localhost": 200, "127.0.0.1:1": 200, "evil.example": 403, "localhost.evil": 403, "": 403}
HOSTS |= {"LocalHost:80": 200, "[::1]:8000": 200, "[::2]": 403}


@pytest.mark.parametrize(("host", "status"), HOSTS.items())
def test_a_page_that_claims_another_name_is_kept_out(locked: Live, host: str, status: int) -> None:
    with locked.client(headers={"Authorization": "Bearer one", "Host": host}) as client:
        response = client.get("/v1/models")
    assert response.status_code == status
    assert not any(name.startswith("access-control") for name in response.headers)


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", "", "application/jsonx"])
def test_posts_are_json(reciter: Live, kind: str) -> None:
    data = json.dumps({"messages": HI}).encode()
    with reciter.client() as client:
        response = client.post(PATH, content=data, headers={"Content-Type": kind})
    assert response.status_code == 415


def test_a_body_that_is_too_large_is_not_read(locked: Live) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer one\r\n{JSON}"
    declared = talk(locked, f"{head}Content-Length: 99999999\r\n\r\n".encode())
    assert b" 413 " in declared
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    chunked = talk(locked, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + 8 * chunk)
    assert b" 413 " in chunked
    assert b'"too_large"' in chunked


BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"\xff\xfe{}",
    b'{"messages": ' + b"[" * 100_000,
    b'{"a": ' + b'{"a": ' * 50_000 + b"1",
    b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
    b'{"messages": [{"role": "user", "content": "x"}], "temperature": 1e999}',
    b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
    b'{"messages": [{"role": "user", "content": "x"}], "seed": 99999999999999999999999999}',
    b'{"messages": [{"role": "user", "content": {"type": "x"}}]}',
    b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}',
    b'{"messages": "x"}',
    b'{"messages": [1]}',
]


MANY = [
    (PATH, {"messages": [{}] * 4097}, "messages", "<= 4096"),
    (PATH, {"messages": [{str(i): 1 for i in range(65)}]}, "messages[0]", "<= 64"),
    (PATH, {"messages": HI, "stop": ["x"] * 17}, "stop", "<= 16"),
    (PATH, {"messages": HI, "logit_bias": {str(i): 1 for i in range(1025)}}, "logit_bias", "1024"),
    (PATH, {str(i): 1 for i in range(257)}, None, "257 fields; at most 256"),
    (PATH, {"messages": HI, "x": [{}] * 200_000}, None, "200004 opening braces"),
    ("/v1/embeddings", {"input": [[5]] * 200_000}, None, "at most 200000"),
    ("/v1/responses", {"input": [{}] * 4097}, "input", "<= 4096"),
    (
        "/v1/apps/translate",
        {"text": "x", "glossary": {str(i): "x" for i in range(4097)}},
        "glossary",
        "<= 4096",
    ),
    ("/v1/apps/support", {"question": "x", "records": ["x"] * 1001}, "records", "<= 1000"),
    (
        "/v1/apps/support",
        {"question": "x", "knowledge": [{"text": "x"}] * 1001},
        "knowledge",
        "<= 1000",
    ),
]


@pytest.mark.parametrize(("path", "asked", "param", "words"), MANY, ids=range(len(MANY)))
def test_more_than_is_looked_at_is_refused_by_the_decoder(
    reciter: Live, path: str, asked: dict[str, Any], param: str | None, words: str
) -> None:
    """Before anything walks over it in the thread that all share."""
    with reciter.client() as client:
        error = client.post(path, json=asked).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_request", param)
    assert words in error["message"]


def test_a_message_has_so_many_parts_at_most(reciter: Live) -> None:
    content = [{"type": "text", "text": ""}] * 4097
    with reciter.client() as client:
        error = client.post(PATH, json={"messages": [{"role": "user", "content": content}]}).json()
    assert "4097 parts; at most 4096" in error["error"]["message"]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_bad_bodies_are_told_so(reciter: Live, body: bytes) -> None:
    with reciter.client(headers={"Content-Type": "application/json"}) as client:
        response = client.post(PATH, content=body)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert "Traceback" not in response.text
    canary(reciter)


WORDS = [
    (gzip.compress(b"{}"), "compressed"),
    (b"\xef\xbb\xbf{}", "byte order mark"),
    (json.dumps({"messages": HI}).encode("utf-16"), "byte order mark"),
    (b'{"a": "\xff"}', "not UTF-8"),
    (b'{"a": "\\ud800"}', "half of a surrogate pair"),
    (b'{"a": "\\ud83d\\ude00 \\uDC00 x"}', "half of a surrogate pair"),
    (b'{"a": "\\ud83d\\ude00 \\\\ud800" x}', "The body is not JSON."),
    (b"{", "The body is not JSON."),
]


@pytest.mark.parametrize(("body", "words"), WORDS, ids=range(len(WORDS)))
def test_what_is_wrong_with_a_body_is_told(reciter: Live, body: bytes, words: str) -> None:
    with reciter.client(headers={"Content-Type": "application/json"}) as client:
        error = client.post(PATH, content=body).json()["error"]
        assert error["code"] == "invalid_request"
        assert words in error["message"]
        for coding, status in (("gzip", 415), ("identity", 400)):
            reply = client.post(PATH, content=body, headers={"Content-Encoding": coding})
            assert reply.status_code == status
            assert ("'gzip'" in reply.json()["error"]["message"]) == (status == 415)


@given(
    st.dictionaries(
        st.sampled_from([*ChatRequest.__struct_fields__, "what"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
            max_leaves=6,
        ),
    )
)
def test_no_body_is_a_server_error(clients: httpx.Client, body: dict[str, Any]) -> None:
    data = json.dumps({"messages": HI, **body}).encode("utf-8", "replace")
    response = clients.post(PATH, content=data, headers={"Content-Type": "application/json"})
    assert response.status_code < 500


HEADERS = [
    ("x-deadline-ms", "1e400"),
    ("x-deadline-ms", "nan"),
    ("x-deadline-ms", "-1"),
    ("x-deadline-ms", "١٠٠"),
    ("x-deadline-ms", "1_000"),
    ("x-deadline-ms", "9" * 4000),
    ("x-deadline-ms", ""),
]


@pytest.mark.parametrize(("name", "value"), HEADERS)
def test_hostile_budgets_in_headers_are_refused(reciter: Live, name: str, value: str) -> None:
    with reciter.client() as client:
        headers = {name: value.encode()}
        response = client.post(PATH, json={"messages": HI}, headers=headers)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == name


@pytest.mark.parametrize("value", ["nan", "inf", "-3", "x", "", "1e999", "0"])
def test_a_clients_patience_that_makes_no_sense_is_no_budget(value: str) -> None:
    headers = {"x-stainless-read-timeout": value}
    budget = budget_of(None, None, headers, default_ms=None, cap_ms=600_000.0)
    assert budget.total_ms is None


@given(st.text(max_size=40), st.none() | st.floats())
def test_budgets_are_positive_and_capped_or_refused(header: str, body: float | None) -> None:
    with suppress(ApiError):
        budget = budget_of(body, None, {"x-deadline-ms": header}, default_ms=700.0, cap_ms=1000.0)
        assert budget.total_ms is not None
        assert 0.0 < budget.total_ms <= 1000.0


def test_a_request_id_is_given_back_only_where_it_is_one(reciter: Live) -> None:
    with reciter.client() as client:
        for given_id, kept in (("abc-1.2_3", True), ("a b", False), ("x" * 65, False)):
            response = client.get("/health", headers={"x-request-id": given_id})
            assert (response.headers["x-request-id"] == given_id) == kept
        twice = [("x-request-id", "first"), ("x-request-id", "second")]
        assert client.get("/health", headers=twice).headers["x-request-id"] == "first"


def test_who_asks_too_late_hears_at_once_that_the_client_has_left() -> None:
    call, heard = Call("id", 0, "/", {}), list[str]()
    call.when_gone(lambda: heard.append("before"))
    call.leave()
    call.when_gone(lambda: heard.append("after"))
    call.leave()
    assert heard == ["before", "after"]


def test_equal_request_ids_do_not_mix(reciter: Live) -> None:
    texts: list[str] = []

    def ask(prompt: str) -> None:
        with reciter.client(headers={"x-request-id": "same"}) as client:
            asked = {"prompt": prompt, "max_tokens": 5}
            texts.append(client.post("/v1/completions", json=asked).json()["choices"][0]["text"])

    prompts = ["x" * count for count in range(1, 9)]
    threads = [threading.Thread(target=ask, args=(prompt,)) for prompt in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    text = reciter.backend.text
    assert sorted(texts) == sorted(text[n : n + 5] for n in range(1, 9))


SMUGGLING = [
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"\x16\x03\x01\x02\x00",
    b"GET /" + b"a" * (80 << 10) + b" HTTP/1.1\r\n",
]


@pytest.mark.parametrize("data", SMUGGLING, ids=range(len(SMUGGLING)))
def test_what_is_no_http_is_refused(reciter: Live, data: bytes) -> None:
    told = talk(reciter, data + b"\r\n")
    assert b"HTTP/1.1 4" in told[:12] + b"\r\n"
    error = json.loads(told.partition(b"\r\n\r\n")[2])["error"]  # in the API's words, as others are
    assert error["code"] == "invalid_request"
    assert error["message"].startswith("The request is not read: ")
    canary(reciter)


def test_who_refuses_a_request_says_why(reciter: Live) -> None:
    told = talk(reciter, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    assert b"a request has one Host" in told


@pytest.mark.parametrize("stream", [False, True])
def test_http_1_0_is_answered_without_chunks(reciter: Live, stream: bool) -> None:
    data = json.dumps({"messages": HI, "stream": stream}).encode()
    head = f"POST {PATH} HTTP/1.0\r\nHost: localhost\r\n{JSON}Content-Length: {len(data)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", reciter.port), timeout=30) as sock:
        sock.sendall(head.encode() + data)
        told_head, _, body = read_all(sock).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in told_head
    assert b"connection: close" in told_head
    if stream:
        lines = [line for line in body.split(b"\n\n") if line]
        assert all(line.startswith(b"data: ") for line in lines)
        assert lines[-1] == b"data: [DONE]"
    else:
        assert json.loads(body)["choices"][0]["message"]["content"] == ANSWER


def test_a_head_of_many_small_lines_is_no_smaller(reciter: Live) -> None:
    lines = b"".join(b"X-%d: %s\r\n" % (i, b"y" * 50) for i in range(2000))
    with socket.create_connection(("127.0.0.1", reciter.port), timeout=30) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + lines[:100])
        with suppress(BrokenPipeError, ConnectionResetError):  # it may be closed meanwhile
            sock.sendall(lines[100:] + b"\r\n")
        assert b" 200 " not in read_all(sock)[:20]
    canary(reciter)


def test_requests_in_one_piece_are_answered_in_their_order(reciter: Live) -> None:
    """Each has its own instant of arrival, and a head that is slow behind a whole one is timed."""
    ask = "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {}\r\n{}\r\n"
    both = ask.format("first", "") + ask.format("second", "Connection: close\r\n")
    with socket.create_connection(("127.0.0.1", reciter.port), timeout=30) as sock:
        sock.sendall(both.encode())
        told = read_all(sock)
    assert told.count(b"HTTP/1.1 200") == 2
    assert told.index(b"x-request-id: first") < told.index(b"x-request-id: second")


def test_a_socket_does_not_open_before_the_answers_of_its_connection() -> None:
    """They would be told into it, and nobody would hear that their client leaves."""
    data = json.dumps({"messages": HI}).encode()
    ask = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: {len(data)}\r\n\r\n"
    upgrade = (
        f"GET {LIVE} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with live() as server:
        server.backend.gate.clear()
        server.backend.reached.clear()
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
            sock.sendall(ask.encode() + data + upgrade.encode())
            assert server.backend.reached.wait(30)
            server.backend.gate.set()
            told = read_all(sock)
        assert [part[:3] for part in told.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400"]
        assert b"told to a socket" in told
        canary(server)


BROKEN = {
    "no request": b"garbage\r\n\r\n",
    "no Host": b"GET /livez HTTP/1.1\r\n\r\n",
    "no chunk": (
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n{JSON}Transfer-Encoding: chunked\r\n\r\nzz\r\n"
    ).encode(),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("between", [b"", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_what_is_not_read_is_told_behind_the_answers_before_it(
    stream: bool, broken: bytes, between: bytes
) -> None:
    """Within a running answer its client would take it for a part, or for its answer."""
    data = json.dumps({"messages": HI, "stream": stream}).encode()
    ask = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: {len(data)}\r\n\r\n"
    with live() as server:
        server.backend.gate.clear()
        server.backend.reached.clear()
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
            sock.sendall(ask.encode() + data)
            assert server.backend.reached.wait(30)
            sock.sendall(between + broken)
            server.wait(refused(server))
            server.backend.gate.set()
            told = read_all(sock)
        whole = 1 + bool(between)
        assert [part[:3] for part in told.split(b"HTTP/1.1 ")[1:]] == [b"200"] * whole + [b"400"]
        first, _, last = told.rpartition(b"HTTP/1.1 400")
        assert (b"[DONE]\n\n\r\n0\r\n\r\n" in first) if stream else (ANSWER.encode() in first)
        assert b"x-should-retry: false" in last
        assert b"x-request-id: req-" in last
        assert server.door.held == 0
        canary(server)


async def refused(server: Live) -> None:
    """Something was sent on a connection that is no request."""
    while not any(each._refused for each in server.server._state.connections):
        await asyncio.sleep(0)


H2C = "Connection: {}, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"


@pytest.mark.parametrize("cut", [0, 30, -3], ids=["at once", "in the head", "in the body"])
@pytest.mark.parametrize("chunked", [False, True])
def test_who_offers_another_protocol_is_answered_in_this_one(
    reciter: Live, cut: int, chunked: bool
) -> None:
    """Java's client does so with each first request, and goes on over the same connection."""
    body = b'{"prompt": "abc"}'
    size = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    ask = f"POST /tokenize HTTP/1.1\r\nHost: localhost\r\n{JSON}{H2C}{size}\r\n\r\n"
    sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    first, last = (ask.format(word).encode() + sent for word in ("Upgrade", "close, Upgrade"))
    with socket.create_connection(("127.0.0.1", reciter.port), timeout=30) as sock:
        data = first + b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" + first + last
        sock.sendall(data[:cut])
        sock.sendall(data[cut:])
        told = read_all(sock)
    assert told.count(b"HTTP/1.1 200") == 4
    assert told.count(b'"tokens":[97,98,99]') == 3


def test_an_offer_does_not_begin_a_requests_time_anew() -> None:
    data = json.dumps({"messages": HI, "deadline_ms": 5000}).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n{JSON}{H2C.format('close, Upgrade')}"
    with live() as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
            sock.sendall(head[:9].encode())
            server.wait(first_byte(server))
            server.clock.advance_ms(4000.0)
            sock.sendall(f"{head[9:]}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            body = json.loads(read_all(sock).partition(b"\r\n\r\n")[2])
        assert body["onesec"]["elapsed_ms"] > 4000.0


def test_no_more_requests_wait_on_a_connection_than_are_read_soon(reciter: Live) -> None:
    ask = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = ask.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    for count, refused in ((MAX_PIPELINED, 0), (MAX_PIPELINED + 1, 1)):
        with socket.create_connection(("127.0.0.1", reciter.port), timeout=30) as sock:
            sock.sendall(ask * count + last)
            told = read_all(sock)
        assert told.count(b"HTTP/1.1 200") == MAX_PIPELINED + 1
        assert told.count(b"HTTP/1.1 400") == refused
    canary(reciter)


def test_slow_sockets_are_closed_and_others_do_not_notice() -> None:
    bounds = Bounds(head_seconds=1.0, body_seconds=1.0)
    with live(bounds=bounds) as server, ExitStack() as stack:
        address = ("127.0.0.1", server.port)

        def connect(data: bytes) -> socket.socket:
            sock = stack.enter_context(socket.create_connection(address, timeout=30))
            sock.sendall(data)
            return sock

        silent = [connect(b"") for _ in range(50)]
        half = [connect(b"POST /v1/chat/completions HTTP/1.1\r\nHost: lo") for _ in range(50)]
        head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: 9\r\n\r\n{{"
        bodies = [connect(head.encode()) for _ in range(10)]
        canary(server)
        assert [read_all(sock) for sock in silent + half] == [b""] * 100
        assert all(b" 408 " in read_all(sock) for sock in bodies)
        canary(server)


def test_a_body_that_comes_after_its_refusal_has_no_more_time_than_others() -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: 9\r\n\r\n{{"
    ask = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with live(bounds=Bounds(keys=(key_digest("one"),), body_seconds=0.5)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
            sock.sendall(head.encode())
            assert b" 401 " in read_all(sock)  # it is closed
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
            sock.sendall(head.encode())
            assert b" 401 " in sock.recv(1 << 16)
            sock.sendall(b"x" * 8 + ask)
            assert b" 200 " in sock.recv(1 << 16)  # who sends it to the end goes on
            [connection] = server.server._state.connections
            assert connection._body_timer is None


def test_blank_lines_do_not_keep_a_connection_open() -> None:
    """Bytes between two requests begin a head, whose time is limited, though no request has."""
    with live(bounds=Bounds(head_seconds=0.5)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
            sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200")
            sock.sendall(b"\r\n")
            assert read_all(sock) == b""  # it is closed
        canary(server)


def test_blank_lines_are_no_part_of_a_requests_time() -> None:
    data = json.dumps({"messages": HI, "deadline_ms": 5000}).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{JSON}"
    with live() as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
            sock.sendall(b"\r\n")
            server.wait(first_byte(server))
            server.clock.advance_ms(4000.0)
            sock.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            body = json.loads(read_all(sock).partition(b"\r\n\r\n")[2])
        assert body["onesec"]["elapsed_ms"] < 1000.0


def test_a_body_in_pieces_does_not_start_the_heads_time() -> None:
    with live() as server:
        server.backend.gate.clear()
        server.backend.reached.clear()
        data = json.dumps({"messages": HI}).encode()
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
            head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{JSON}"
            sock.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data[:5])
            sock.sendall(data[5:])
            assert server.backend.reached.wait(30)
            [connection] = server.server._state.connections
            assert connection._head_timer is None
            server.backend.gate.set()
            assert b" 200 " in read_all(sock)


def test_a_whole_answer_that_is_not_read_holds_nothing_for_long() -> None:
    asked = {"prompt": "x" * 1_000_000}
    with live(bounds=Bounds(send_seconds=0.1)) as server, unread(server, "/tokenize", asked):

        async def closed() -> None:
            while server.server._state.connections:
                await asyncio.sleep(0)

        server.wait(closed())


def test_time_that_a_client_takes_to_read_is_not_the_doors() -> None:
    with live(LONG) as server, unread(server, PATH, MUCH) as sock:
        while server.soon(lambda: server.door.runner.open):
            pass
        server.clock.advance_ms(5000.0)  # it has waited for the client since
        assert b"[DONE]" in read_all(sock)
        server.wait(server.door.idle.wait())
        assert server.door.time.exit.value < 1000.0


def test_a_peer_that_does_not_read_holds_nothing_for_long() -> None:
    with live(LONG, bounds=Bounds(send_seconds=0.2)) as server:
        with unread(server, PATH, MUCH, connection="keep-alive"):
            server.wait(server.door.idle.wait())
        with server.client() as client:
            assert 'reason="cancelled"} 1.0' in client.get("/metrics").text
