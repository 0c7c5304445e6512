"""Protocol: HTTP/1.1 on a socket, with limits on slow, on large and on many heads.

It must not know routes. uvicorn's protocol does the parsing (httptools); this adds what it lacks:
an absolute time and a size for a request's head, exactly one Host, a limit on sockets, all of them
and of one peer, and on requests that wait on one, the instant of a request's first byte, an end of
patience with a peer that does not read, answers whose head and first bytes are one packet, answers
to HTTP/1.0 without the chunks of 1.1, errors in the API's words behind the answers that are owed
before them, and requests that offer a protocol
which is not spoken here: they are read as if they did not.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto.events import Request

from onesec.core.clock import Clock, MonotonicClock

from .errors import ApiError
from .looking import Looks
from .packets import Packets

MAX_SOCKETS = 512
MAX_SOCKETS_OF_A_PEER = 64  # a proxy on this machine is no such peer
MAX_HEAD_BYTES = 64 << 10
MAX_PIPELINED = 16  # requests of a connection behind the one that is answered
ABORT = "onesec.abort"  # in the scope: drops the connection with all that was not read
ARRIVAL = "onesec.arrival_ns"  # in the scope: monotonic, of the request's first byte at the latest
HEAR = "onesec.hear"  # in the scope: the callbacks for the end of the connection, a set
FLOW = "onesec.flow"  # in the scope: whether writes wait for the peer to read (`write_paused`)


class _NotAnswered(ValueError):
    """Why a request is not read further."""


class _Unframed(RequestResponseCycle):
    """An answer to HTTP/1.0, which knows no chunks: the end of the connection is its end."""

    async def send(self, message: Any) -> None:
        self.chunked_encoding = False
        self.expected_content_length = len(message.get("body", b""))  # which uvicorn counts down
        await super().send(message)


class Protocol(HttpToolsProtocol):
    """One connection."""

    head_seconds = 10.0
    body_seconds = 30.0  # of one that comes after its answer
    send_seconds = 10.0
    clock: Clock = MonotonicClock()
    looks: Looks | None = None  # of the loop, where it tells how long bytes may have waited

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        packets = Packets(transport, self.loop, self.send_seconds)
        super().connection_made(cast(asyncio.Transport, packets))
        self._first_byte_ns: int | None = None  # of the head that is being read
        self._received_ns = 0
        self._head_bytes = 0
        self._in_head = True  # or before it
        self._head_timer: asyncio.TimerHandle | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        self._hear: set[Callable[[], None]] = set()
        self._answering: RequestResponseCycle | None = None  # the one that is, or was last
        self._refused = False  # nothing more is read
        self._refusal = b""  # to be sent once all before it are answered
        of_peer = 0
        if self.client is not None and not on_this_machine(self.client[0]):
            peers = [getattr(other, "client", None) for other in self.connections]
            of_peer = sum(peer is not None and peer[0] == self.client[0] for peer in peers)
        if len(self.connections) > MAX_SOCKETS or of_peer > MAX_SOCKETS_OF_A_PEER:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_timer()
        self._forget_body()
        super().connection_lost(exc)
        for hear in list(self._hear):
            hear()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._received_ns = self.clock.now_ns() if self.looks is None else self.looks.since_ns
        if self._in_head:
            self._begin_head()
            self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self.send_400_response(f"the head has more than {MAX_HEAD_BYTES} bytes")

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            ours = isinstance(error.__context__, _NotAnswered)  # raised below, within the parser
            self.send_400_response(str(error.__context__ if ours else error))
        except httptools.HttpParserUpgrade as offer:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            elif self._declined():
                # The parser leaves the body out: Java's client, say, offers h2c with each request
                # on a new connection, and all of them would be empty.
                [end] = offer.args  # of the head
                now_ns, self._received_ns = self._received_ns, self._first_byte_ns or 0
                head = self._without_offer()
                self.parser = httptools.HttpRequestParser(self)
                self._parse(head)
                self._received_ns = now_ns
                if not self.transport.is_closing():
                    self._parse(data[end:])

    def _declined(self) -> bool:
        """Whether the request offers a protocol that is not spoken here."""
        offers = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        return offers and not self._should_upgrade()

    def _without_offer(self) -> bytes:
        """The head that was read, without the protocols that it offers."""
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, or none that is read here, and close, once all before it are
        answered; `msg` says why."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._forget_timer()
        self._forget_body()
        self.logger.warning("Not a request: %s", msg)
        answering, in_body = self._answering, not self._in_head
        if in_body and self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()  # it has no body, and so no answer but this one
            in_body = False
        if in_body and answering is not None and answering.response_started:
            self.transport.close()  # its answer is all that there is to say
            return
        self._refusal = _refusal(msg)
        if in_body or answering is None or answering.response_complete:
            self._refuse()

    def _refuse(self) -> None:
        self.transport.write(self._refusal)
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    # What the parser tells. An exception in here is answered with 400.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin_head()  # of a request that came with the end of the one before
        self._first_byte_ns = self._received_ns  # blank lines before it are none of its

    def on_headers_complete(self) -> None:
        if self._declined():
            return  # it is read again
        names = [name for name, _ in self.headers]
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            raise _NotAnswered("the head is too large")
        hosts = names.count(b"host")
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() != "1.0"):
            raise _NotAnswered("a request has one Host")
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _NotAnswered("too many requests wait for the answers before theirs")
        if self.parser.should_upgrade() and self.cycle and not self.cycle.response_complete:
            raise _NotAnswered("what is still to be answered would be told to a socket")
        super().on_headers_complete()
        if self.parser.get_http_version() == "1.0" and self.cycle is not None:
            # uvicorn has no place to choose the class; nothing is sent yet.
            self.cycle.__class__ = _Unframed
        scope = cast(dict[str, Any], self.scope)
        scope[ARRIVAL] = self._first_byte_ns
        scope[ABORT], scope[HEAR], scope[FLOW] = self.transport.abort, self._hear, self.flow
        self._in_head, self._first_byte_ns, self._head_bytes = False, None, 0
        self._forget_timer()

    def on_message_complete(self) -> None:
        if self._declined():
            return
        super().on_message_complete()
        self._in_head = True
        self._forget_body()

    def on_response_complete(self) -> None:
        last = not self.pipeline
        super().on_response_complete()
        if self._refusal and last and not self.transport.is_closing():
            self._refuse()
        elif not self._refused and not self._in_head and self._body_timer is None:
            # Answered before its body was there, which nobody waits for any more.
            self._body_timer = self.loop.call_later(self.body_seconds, self.transport.abort)

    def _begin_head(self) -> None:
        if self._first_byte_ns is None:
            self._first_byte_ns = self._received_ns
            if self._head_timer is None:  # the next request of a connection that is kept alive
                self._await_head()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.abort()

    def _forget_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _forget_body(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None


def new_id() -> str:
    """An id for a request that has none of its own."""
    return f"req-{secrets.token_hex(8)}"


def _refusal(why: str) -> bytes:
    """The whole answer to what is not read."""
    error = ApiError("invalid_request", f"The request is not read: {why}.")
    body = error.encoded()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **error.headers(),
        "x-request-id": new_id(),
        "connection": "close",
    }
    lines = ["HTTP/1.1 400 Bad Request", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def on_this_machine(host: str) -> bool:
    """Whether a peer's address is a loopback one, however a socket for both versions writes it.

    >>> on_this_machine("::ffff:127.0.0.1"), on_this_machine("::1"), on_this_machine("192.0.2.1")
    (True, True, False)
    """
    address = ip_address(host)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


class SocketProtocol(WSProtocol):
    """One WebSocket, on a connection that asked for it."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        cast(dict[str, Any], self.scope)[ABORT] = self.transport.abort
