"""The socket of live translation: sentences as they are complete, each within its own time."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import struct
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import pytest
from live import Live, live

from onesec.apps import Translate
from onesec.llm import LLM
from onesec.serve import sockets
from onesec.serve.door import Terms
from onesec.serve.interpreting import LIVE
from onesec.serve.limits import Bounds, key_digest
from onesec.serve.protocol import ABORT, Protocol, SocketProtocol
from onesec.serve.sockets import MAX_MESSAGE_BYTES, Socket, Sockets

TEXT = "The shop opens at nine. It closes at six. Delivery costs $5. Call us. " * 8
SAID = "早上好。我们九点开门。再见"


class Speaker:
    """A client in plain frames (RFC 6455), so that it can also say what no client would."""

    def __init__(self, server: Live, path: str = LIVE, **headers: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = {
            "Host": f"127.0.0.1:{server.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Version": "13",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.sock.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        self._buffer = b""
        while b"\r\n\r\n" not in self._buffer:
            data = self.sock.recv(4096)
            assert data
            self._buffer += data
        answer, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        self.status = int(answer.split()[1])
        self.answer = answer.decode()

    def frame(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        head = bytes([0x80 | opcode])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 1 << 16:
            head += bytes([0x80 | 126]) + struct.pack(">H", size)
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", size)
        self.sock.sendall(head + b"\0\0\0\0" + payload)  # a mask of zeros

    def say(self, **value: Any) -> None:
        self.frame(1, json.dumps(value).encode())

    def hear(self) -> tuple[int, bytes]:
        """The next frame: its opcode and what it holds."""
        opcode = self._take(1)[0] & 15
        size = self._take(1)[0]
        if size == 126:
            (size,) = struct.unpack(">H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._take(8))
        return opcode, self._take(size)

    def told(self) -> Any:
        opcode, data = self.hear()
        assert opcode == 1, data
        return json.loads(data)

    def closed(self) -> int:
        """The code of the close frame that comes next."""
        opcode, data = self.hear()
        assert opcode == 8
        return int(struct.unpack(">H", data[:2])[0])

    def all(self) -> list[Any]:
        """Everything up to the end that the server tells."""
        found = [self.told()]
        while found[-1]["type"] == "sentence":
            found.append(self.told())
        return found

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = self.sock.recv(4096)
            assert data, "the connection ended"
            self._buffer += data
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


@contextmanager
def speaking(server: Live, **headers: str) -> Iterator[Speaker]:
    speaker = Speaker(server, **headers)
    try:
        assert speaker.status == 101, speaker.answer
        yield speaker
    finally:
        speaker.sock.close()


@pytest.fixture(scope="module")
def shop() -> Iterator[Live]:
    with live(TEXT) as server:
        yield server


def in_the_library(text: str) -> list[str]:
    from doors import recite

    loaded, clock, _ = recite(TEXT)
    with LLM.over(loaded, clock=clock) as llm:
        return [s.text for s in Translate(llm, clock=clock).live([text], "5s")]


def test_sentences_are_the_librarys_and_come_as_they_are_complete(shop: Live) -> None:
    with speaking(shop) as speaker:
        speaker.say(type="start", deadline_ms=5000)
        for piece in ("早上", "好。我们"):
            speaker.say(type="text", text=piece)
        first = speaker.told()  # before anything more is said
        assert (first["number"], first["source"], first["start"]) == (0, "早上好。", 0)
        speaker.say(type="text", text="九点开门。再见")
        speaker.say(type="end")
        *rest, end = speaker.all()
        assert end == {"type": "end", "sentences": 3, "done": 3}
        assert speaker.closed() == 1000
    told = sorted([first, *rest], key=lambda sentence: sentence["number"])
    assert [sentence["text"] for sentence in told] == in_the_library(SAID)
    assert "".join(sentence["source"] for sentence in told) == SAID
    assert all(sentence["onesec"]["met"] for sentence in told)
    assert {sentence["onesec"]["budget_ms"] for sentence in told} == {5000.0}
    shop.wait(shop.door.idle.wait())
    done = shop.door.recent.view(shop.door.clock.now_ns())["recent"][-3:]
    assert [(one["path"], one["budget_ms"], one["met"]) for one in done] == [
        (LIVE, 5000.0, True)
    ] * 3
    assert all(one["tokens"] > 0 for one in done)


def test_start_may_be_left_out(shop: Live) -> None:
    with speaking(shop) as speaker:
        speaker.say(type="text", text="早上好。")
        assert speaker.told()["onesec"]["budget_ms"] == 1000.0
        speaker.say(type="end")
        assert speaker.told()["type"] == "end"


def test_what_cannot_be_in_time_is_told_and_the_talk_goes_on(shop: Live) -> None:
    with speaking(shop) as speaker:
        speaker.say(type="start", deadline_ms=2)
        speaker.say(type="text", text="早上好。")
        refused = speaker.told()
        assert (refused["done"], refused["text"], refused["source"]) == (False, "", "早上好。")
        assert refused["onesec"]["feasible_ms"] > 2
        *_, done = shop.door.recent.view(shop.door.clock.now_ns())["recent"]
        assert (done["path"], done["refused"]) == (LIVE, True)
        assert done["ending"] == refused["onesec"]["code"]
        speaker.say(type="end")
        assert speaker.all() == [{"type": "end", "sentences": 1, "done": 0}]


def test_a_sentence_that_is_late_at_the_door_does_not_end_the_talk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with live(TEXT) as server, speaking(server) as speaker:

        async def late(_: float | None) -> bool:
            server.clock.advance_ms(500.0)
            return True

        speaker.say(type="start", deadline_ms=400)
        with monkeypatch.context() as patch:
            patch.setattr(server.door.newest, "turn", late)
            speaker.say(type="text", text="早上好。")
            refused = speaker.told()
        assert (refused["done"], refused["onesec"]["code"]) == (False, "deadline_infeasible")
        assert refused["onesec"]["feasible_ms"] == int(refused["onesec"]["feasible_ms"]) > 400
        speaker.say(type="text", text="我们开门。")
        assert speaker.told()["done"] is True
        speaker.say(type="end")
        assert speaker.all()[-1] == {"type": "end", "sentences": 2, "done": 1}


def test_what_the_server_does_not_grant_is_not_offered() -> None:
    with live(TEXT, terms=Terms(cap_ms=3.0)) as server, speaking(server) as speaker:
        speaker.say(type="start", deadline_ms=2)
        speaker.say(type="text", text="早上好。")
        told = speaker.told()["onesec"]
        assert (told["code"], "feasible_ms" in told) == ("deadline_infeasible", False)


def test_each_sentence_has_its_own_time(shop: Live) -> None:
    with speaking(shop) as speaker:
        speaker.say(type="start", deadline_ms=400)
        for number in range(12):
            speaker.say(type="text", text=f"我们{number}点开门。")
            told = speaker.told()
            assert told["number"] == number
            assert told["onesec"]["met"] is True
        speaker.say(type="end")
        assert speaker.told()["done"] == 12


def test_a_paragraph_at_once_is_bounded_and_none_is_lost(shop: Live) -> None:
    with speaking(shop) as speaker:
        speaker.say(type="start", deadline_ms=60_000)
        speaker.say(type="text", text="我们开门。" * 40)
        speaker.say(type="end")
        *told, end = speaker.all()
    assert sorted(sentence["number"] for sentence in told) == list(range(40))
    assert end["sentences"] == 40


@pytest.mark.parametrize(
    "message",
    [
        b"{",
        b"[]",
        b'{"type": "text"}',
        b'{"type": "text", "text": 3}',
        b'{"type": "sing"}',
        b'{"type": "start", "to": "fr"}',
        b'{"type": "start", "deadline_ms": -1}',
        b'{"type": "start", "model": "other"}',
        b"[" * 50_000,
    ],
)
def test_what_is_no_message_ends_the_talk(shop: Live, message: bytes) -> None:
    with speaking(shop) as speaker:
        speaker.frame(1, message)
        told = speaker.told()
        assert told["type"] == "error"
        assert told["error"]["code"] in ("invalid_request", "model_not_found")
        assert speaker.closed() == 1008


def test_bytes_and_a_second_start_end_it_too(shop: Live) -> None:
    with speaking(shop) as speaker:
        speaker.frame(2, b"{}")
        assert speaker.told()["type"] == "error"
    with speaking(shop) as speaker:
        speaker.say(type="text", text="好")
        speaker.say(type="start")
        assert speaker.told()["type"] == "error"


def test_a_message_that_is_too_long_is_not_kept(shop: Live) -> None:
    with speaking(shop) as speaker:
        speaker.frame(1, b'{"type": "text", "text": "' + b"x" * MAX_MESSAGE_BYTES)
        assert speaker.closed() == 1009


def test_pings_are_answered(shop: Live) -> None:
    with speaking(shop) as speaker:
        speaker.frame(9, b"there?")
        assert speaker.hear() == (10, b"there?")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"path": "/v1/chat/completions"}, 404),
        ({"path": "/v1/apps/translate"}, 404),
    ],
)
def test_who_may_not_open_it_gets_an_answer(headers: dict[str, str], status: int) -> None:
    with live(TEXT, bounds=Bounds(hosts=frozenset({"127.0.0.1"}))) as server:
        speaker = Speaker(server, **headers)
        assert speaker.status == status
        assert "x-request-id" in speaker.answer
        speaker.sock.close()
        with speaking(server, Origin=f"http://127.0.0.1:{server.port}"):
            pass


def test_the_key_is_asked_for_before_it_opens() -> None:
    with live(TEXT, bounds=Bounds(keys=(key_digest("right"),))) as server:
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer wrong"}, 401),
            ({"Authorization": "Bearer right"}, 101),
        ):
            speaker = Speaker(server, **headers)
            assert speaker.status == status
            speaker.sock.close()


def test_a_page_offers_its_key_as_a_subprotocol() -> None:
    def offered(key: str, *, first: str = "onesec, ") -> dict[str, str]:
        text = base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")
        return {"Sec-WebSocket-Protocol": f"{first}onesec.key.{text}"}

    with live(TEXT, bounds=Bounds(keys=(key_digest("schlüssel?>"),))) as server:
        for headers, status in (
            (offered("wrong"), 401),
            ({"Sec-WebSocket-Protocol": "onesec, onesec.key.a"}, 401),
            ({"Sec-WebSocket-Protocol": "onesec"}, 401),
            ({**offered("schlüssel?>"), "Authorization": "Bearer wrong"}, 401),
            (offered("schlüssel?>"), 101),
            (offered("schlüssel?>", first=""), 101),
        ):
            speaker = Speaker(server, **headers)
            assert speaker.status == status, headers
            told = "sec-websocket-protocol: onesec\r\n" in speaker.answer.lower() + "\r\n"
            chosen = "onesec, " in headers["Sec-WebSocket-Protocol"]
            assert told == (status == 101 and chosen)  # never the key
            assert "onesec.key" not in speaker.answer.replace("onesec.key. is", "")
            speaker.sock.close()


def test_who_leaves_leaves_nothing_behind(shop: Live, caplog: pytest.LogCaptureFixture) -> None:
    shop.backend.gate.clear()
    shop.backend.reached.clear()
    with speaking(shop) as speaker:
        speaker.say(type="start", deadline_ms=60_000)
        speaker.say(type="text", text="早上好。我们开门。")
        assert shop.backend.reached.wait(30)
    shop.wait(shop.door.idle.wait())  # though the model computes still
    assert shop.door.runner.open == 0
    shop.backend.gate.set()
    assert "failed" not in caplog.text


def test_a_failure_tells_nothing_of_the_text(
    shop: Live, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Any, span: Any, due: Any) -> Any:
        raise RuntimeError(span.text)

    monkeypatch.setattr(Translate, "sentence", fail)
    with speaking(shop) as speaker:
        speaker.say(type="text", text="早上好。")
        assert speaker.told()["error"]["code"] == "internal_error"
        assert speaker.closed() == 1011
    assert "RuntimeError" in caplog.text
    assert "早上好" not in caplog.text


def test_silence_ends_it(shop: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_IDLE_SECONDS", 0.0)
    with speaking(shop) as speaker:
        assert speaker.closed() == 1001


def test_a_full_server_refuses_sentences_not_the_talk() -> None:
    with live(TEXT, terms=Terms(max_open=1)) as server:
        server.backend.gate.clear()
        with speaking(server) as speaker:
            speaker.say(type="start", deadline_ms=60_000)
            speaker.say(type="text", text="早上好。我们开门。")
            refused = speaker.told()
            assert refused["onesec"]["code"] == "queue_full"
            server.backend.gate.set()
            speaker.say(type="end")
            assert speaker.all()[-1] == {"type": "end", "sentences": 2, "done": 1}


def test_a_server_that_drains_says_so() -> None:
    with live(TEXT) as server, speaking(server) as speaker:
        speaker.say(type="text", text="早上好。")
        assert speaker.told()["done"]
        server.soon(lambda: setattr(server.door, "draining", True))
        speaker.say(type="text", text="早上好。")
        assert speaker.told()["error"]["code"] == "draining"
        assert speaker.closed() == 1012
        with speaking(server) as late:
            late.say(type="start")
            assert late.told()["error"]["code"] == "draining"


def test_the_time_for_a_head_is_over_once_it_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    upgraded: list[Protocol] = []
    upgrade = Protocol.handle_websocket_upgrade

    def noted(self: Protocol) -> None:
        upgraded.append(self)
        upgrade(self)

    monkeypatch.setattr(Protocol, "handle_websocket_upgrade", noted)
    with live(TEXT) as server, speaking(server):
        [protocol] = upgraded
        assert protocol._head_timer is None


@pytest.mark.parametrize("end", ["unread", "said"])
def test_what_nobody_reads_is_not_kept(end: str) -> None:
    async def talk(socket: Socket) -> None:
        if end == "unread":
            await socket.tell({})

    async def ended() -> None:
        aborted = asyncio.Event()

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "websocket.send":
                await asyncio.Event().wait()  # for a peer that reads nothing

        scope = {"path": LIVE, "headers": [], "subprotocols": [], ABORT: aborted.set}
        await Sockets({LIVE: talk}, Bounds(send_seconds=0.01))(scope, receive, send)
        await asyncio.wait_for(aborted.wait(), 30)

    asyncio.run(ended())


def test_an_open_socket_can_be_dropped(shop: Live) -> None:
    with speaking(shop) as speaker:
        found = [p for p in shop.server._state.connections if isinstance(p, SocketProtocol)]
        shop.soon(found[-1].scope[ABORT])
        with pytest.raises((AssertionError, ConnectionResetError)):
            speaker.hear()


def test_open_sockets_end_with_the_server() -> None:
    with live(TEXT) as server, speaking(server) as speaker:
        server.soon(server.server.stop)
        assert speaker.closed() == 1012
