"""Sockets: WebSockets: who may open one, which routes have one, and how it ends.

It must not know what is said over them. Host, key and Origin are checked before a socket is opened:
a refusal is an HTTP answer. A page cannot set the Authorization of a socket, only the names of
subprotocols that it offers: there the key may stand as one. Sizes of messages and pings are the
protocol's (see server).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from .errors import ApiError, worded
from .limits import Bounds, Call, ClientGone, Receive, Scope, Send, admit, call_of
from .protocol import ABORT

MAX_MESSAGE_BYTES = 64 << 10
_IDLE_SECONDS = 600.0  # without a word from the client
_MOST_OPEN = 64
_GOING_AWAY, _ERROR, _POLICY, _AGAIN = 1001, 1011, 1008, 1012  # RFC 6455, 7.4.1
_SUBPROTOCOL = "onesec"
_KEY_PREFIX = "onesec.key."  # of a key in base64url without padding, whose letters a name may have
Talk = Callable[["Socket"], Awaitable[None]]


class Socket:
    """An open socket: texts come and values go."""

    def __init__(self, call: Call, receive: Receive, send: Send, send_seconds: float) -> None:
        self.call = call
        self._receive = receive
        self._send = send
        self._send_seconds = send_seconds

    async def text(self) -> str:
        """The next message. Raises ClientGone, ApiError for one that is no text."""
        async with asyncio.timeout(_IDLE_SECONDS):
            message = await self._receive()
        if message["type"] == "websocket.disconnect":
            raise ClientGone
        text = message.get("text")
        if text is None:
            raise ApiError("invalid_request", "A message is a text.")
        return str(text)

    async def tell(self, value: Any) -> None:
        """Send a value as JSON. Raises ClientGone where the client has left or does not read."""
        await self._give({"type": "websocket.send", "text": _json(value)})

    async def close(self, code: int = 1000) -> None:
        """Say goodbye. Raises ClientGone."""
        await self._give({"type": "websocket.close", "code": code})

    async def _give(self, message: MutableMapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._send_seconds):
                await self._send(message)
        except OSError:  # a timeout, or what a server raises for a peer that has gone
            raise ClientGone from None


class Sockets:
    """The ASGI application of all sockets: what is talked at which path."""

    def __init__(self, talks: Mapping[str, Talk], bounds: Bounds) -> None:
        self._talks = talks
        self._bounds = bounds
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = call_of(scope)
        await receive()  # the wish to open it
        offered: Sequence[str] = scope["subprotocols"]
        try:
            _take_key(call, offered)
            admit(scope, call, self._bounds)
            _check_origin(call)
            talk = self._talks.get(scope["path"])
            if talk is None:
                raise ApiError("not_found", "No socket is served at this path.")
            if self._open >= _MOST_OPEN:
                raise ApiError("queue_full", f"{self._open} sockets are open.")
        except ApiError as error:
            await _reject(send, call, error)
            return
        self._open += 1
        try:
            await send(
                {
                    "type": "websocket.accept",
                    "headers": [(b"x-request-id", call.id.encode())],
                    "subprotocol": _SUBPROTOCOL if _SUBPROTOCOL in offered else None,
                }
            )
            await self._talked(talk, Socket(call, receive, send, self._bounds.send_seconds))
        except ClientGone:
            pass
        finally:
            self._open -= 1
            call.leave()
            # What was said last has so long to be read; what is not read then is not kept.
            loop = asyncio.get_running_loop()
            loop.call_later(self._bounds.send_seconds, scope[ABORT])

    async def _talked(self, talk: Talk, socket: Socket) -> None:
        """Talk to the end, whatever it is, and say so. Raises ClientGone."""
        error, code = None, 1000
        try:
            await talk(socket)
        except TimeoutError:
            code = _GOING_AWAY
        except ApiError as refusal:
            error, code = refusal, _AGAIN if refusal.status == 503 else _POLICY
        except ClientGone:
            raise
        except Exception as failure:
            error, code = worded(failure, socket.call.id), _ERROR
        if error is not None:
            await socket.tell({"type": "error", **error.body()})
        await socket.close(code)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _take_key(call: Call, offered: Sequence[str]) -> None:
    """The key that is offered as a subprotocol, where no header has one. Raises ApiError."""
    found = next((name for name in offered if name.startswith(_KEY_PREFIX)), None)
    if found is None or "authorization" in call.headers:
        return
    text = found.removeprefix(_KEY_PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ApiError(
            "invalid_api_key",
            f"The key behind {_KEY_PREFIX} is not base64url.",
            hint="Encode the key's UTF-8 bytes as base64url, without padding.",
        ) from None
    call.headers["authorization"] = "Bearer " + key.decode("utf-8", "surrogateescape")


def _check_origin(call: Call) -> None:
    """Browsers say which page opens a socket: only one of this server may. Raises ApiError."""
    origin = call.headers.get("origin")
    if origin is None:
        return
    try:
        page = urlsplit(origin).netloc.lower()
    except ValueError:  # no URL
        page = None
    if page != call.headers.get("host", "").lower():
        raise ApiError("host_not_allowed", "Pages of other servers may not open a socket here.")


async def _reject(send: Send, call: Call, error: ApiError) -> None:
    body = error.encoded()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-request-id": call.id,
        **error.headers(),
    }
    start: MutableMapping[str, Any] = {
        "type": "websocket.http.response.start",
        "status": error.status,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    }
    await send(start)
    await send({"type": "websocket.http.response.body", "body": body})
