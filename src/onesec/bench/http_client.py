"""HTTP client: requests over kept connections, with the instant of everything that comes back.

As little work as a load generator can do: HTTP/1.1 as servers of models speak it, bodies by length,
in chunks or until the end, server-sent events apart. It must not know what is asked.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from onesec.core.clock import Clock

_END = b"\r\n"
_HEAD_END = b"\r\n\r\n"
_EVENT_END = b"\n\n"  # or the same of _END


class BadReply(Exception):
    """What came back is no HTTP that is understood here, or ended in the middle."""


class NoReply(BadReply):
    """The connection ended before a byte came back: nothing was begun that one could wait for."""


@dataclass(slots=True)
class Reply:
    """A response. Instants are of the client's clock, taken as its bytes are read.

    events   of an event stream: instant and data of each
    body     of any other response
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    first_ns: int = 0
    end_ns: int = 0
    events: list[tuple[int, bytes]] = field(default_factory=list)
    body: bytes = b""


class Parser:
    """One response out of bytes as they come; `reply` is whole once `feed` returns True."""

    def __init__(self) -> None:
        self.reply = Reply()
        self._buffer = bytearray()
        self._parts = bytearray()  # of the body, or of an event that is not whole
        self._left: int | None = None  # bytes of the body or of the chunk; None: until the end
        self._chunked = False
        self._ending = False  # the last chunk was there
        self._streams = False
        self._in_head = True

    @property
    def keeps(self) -> bool:
        """Whether the connection may be used again."""
        closes = self.reply.headers.get("connection", "").lower() == "close"
        return not closes and (self._chunked or self._left is not None)

    def feed(self, data: bytes, now_ns: int) -> bool:
        """Take bytes; whether the response is whole. Raises BadReply."""
        if not self.reply.first_ns:
            self.reply.first_ns = now_ns
        self._buffer += data
        if self._in_head and not self._head():
            return False
        whole = self._chunks(now_ns) if self._chunked else self._plain(now_ns)
        if whole:
            self._over(now_ns)
        return whole

    def eof(self, now_ns: int) -> None:
        """The connection ended. Raises BadReply where that is no end of the response, NoReply where
        there was no beginning."""
        if not self.reply.first_ns:
            raise NoReply("the connection ended before a response")
        if self._in_head or self._chunked or self._left is not None:
            raise BadReply("the connection ended inside a response")
        self._over(now_ns)

    def _head(self) -> bool:
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return False
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + len(_HEAD_END)]
        version, _, rest = first.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise BadReply(f"a response begins with {first[:40]!r}")
        reply = self.reply
        reply.status = int(rest[:3])
        for line in lines:
            name, _, value = line.partition(":")
            reply.headers[name.strip().lower()] = value.strip()
        self._chunked = reply.headers.get("transfer-encoding", "").lower() == "chunked"
        self._streams = reply.headers.get("content-type", "").startswith("text/event-stream")
        length = reply.headers.get("content-length", "")
        self._left = int(length) if length.isdigit() and not self._chunked else None
        self._in_head = False
        return True

    def _plain(self, now_ns: int) -> bool:
        taken = len(self._buffer) if self._left is None else min(self._left, len(self._buffer))
        self._take(taken, now_ns)
        if self._left is None:
            return False
        self._left -= taken
        return self._left == 0

    def _chunks(self, now_ns: int) -> bool:
        while True:
            if self._left is None:
                line = self._line()
                if line is None:
                    return False
                if self._ending:  # trailers, and the empty line after them
                    if not line:
                        return True
                elif line:  # else it is the end of the chunk before
                    try:
                        self._left = int(line.partition(b";")[0], 16) or None
                    except ValueError:
                        raise BadReply(f"a chunk of {line[:20]!r} bytes") from None
                    self._ending = self._left is None
                continue
            taken = min(self._left, len(self._buffer))
            if taken == 0:
                return False
            self._take(taken, now_ns)
            self._left = self._left - taken or None

    def _line(self) -> bytes | None:
        end = self._buffer.find(_END)
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + len(_END)]
        return line

    def _take(self, count: int, now_ns: int) -> None:
        self._parts += self._buffer[:count]
        del self._buffer[:count]
        if not self._streams:
            return
        if b"\r" in self._parts:
            self._parts = self._parts.replace(_END, b"\n")
        while (end := self._parts.find(_EVENT_END)) >= 0:
            event = bytes(self._parts[:end])
            del self._parts[: end + len(_EVENT_END)]
            if event.startswith(b"data:"):
                self.reply.events.append((now_ns, event[5:].strip()))

    def _over(self, now_ns: int) -> None:
        self.reply.body = bytes(self._parts)
        self.reply.end_ns = now_ns


class _Connection(asyncio.Protocol):
    """One socket; one request at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._transport: asyncio.Transport
        self._parser: Parser | None = None
        self._waiter: asyncio.Future[Reply]
        self.usable = True
        self.used = False  # for a request before

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, data: bytes) -> asyncio.Future[Reply]:
        """Send a request; its reply is awaited, which raises BadReply."""
        self._waiter = asyncio.get_running_loop().create_future()
        self._parser = Parser()
        self._transport.write(data)
        return self._waiter

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:  # nobody asked
            self.close()
            return
        try:
            whole = parser.feed(data, self._clock.now_ns())
        except BadReply as error:
            self._fail(error)
            return
        if whole:
            self.usable = self.usable and parser.keeps
            self._parser = None
            self._tell(parser.reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        parser, self._parser = self._parser, None
        if parser is None:
            return
        try:
            parser.eof(self._clock.now_ns())
        except BadReply as error:
            self._fail(error)
        else:
            self._tell(parser.reply)

    def close(self) -> None:
        """Drop the socket, with all that is on its way."""
        self.usable = False
        self._parser = None
        self._transport.abort()

    def _tell(self, reply: Reply) -> None:
        if not self._waiter.done():
            self._waiter.set_result(reply)

    def _fail(self, error: BadReply) -> None:
        if not self._waiter.done():
            self._waiter.set_exception(error)
        self.close()


class Client:
    """Requests to one server, over as many connections as there are requests under way."""

    def __init__(self, host: str, port: int, clock: Clock, *, api_key: str = "") -> None:
        self.host, self.port, self._clock = host, port, clock
        name = f"[{host}]" if ":" in host else host
        self._lines = f"Host: {name}:{port}\r\n"
        if api_key:
            self._lines += f"Authorization: Bearer {api_key}\r\n"
        self._idle: list[_Connection] = []

    async def connected(self) -> _Connection:
        """A connection that nobody uses. Raises OSError."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return await self._connect()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(
            lambda: _Connection(self._clock), self.host, self.port
        )
        return made

    async def send(self, connection: _Connection, method: str, path: str, body: bytes) -> Reply:
        """One request over it; over a new one where the server had just closed it after an earlier
        request. Raises OSError, BadReply. Cancelled, it drops the connection: that is how a client
        leaves."""
        head = f"{method} {path} HTTP/1.1\r\n{self._lines}"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        used, connection.used = connection.used, True
        try:
            reply = await connection.ask(f"{head}\r\n".encode() + body)
        except NoReply:
            if not used:
                raise
            return await self.send(await self._connect(), method, path, body)
        except BaseException:
            connection.close()
            raise
        if connection.usable:
            self._idle.append(connection)
        return reply

    async def request(self, method: str, path: str, body: bytes = b"") -> Reply:
        """One request. Raises OSError, BadReply."""
        return await self.send(await self.connected(), method, path, body)

    def close(self) -> None:
        """Drop the connections that nobody uses."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()
