"""Limits: everything that is refused before routing, in one place, for every route.

It must not know what routes do. Host, key, content type, the size of a body and the time it may
take; and what every answer carries: its request id, and an error that is JSON.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from .errors import ApiError, worded
from .protocol import ABORT, ARRIVAL, FLOW, HEAR, new_id

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CALL = "onesec.call"  # in the scope: the Call
_CLIENT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """hosts: names that a Host header may have (empty: any); keys: SHA-256 of the keys that are
    accepted (empty: none is asked for)."""

    hosts: frozenset[str] = frozenset()
    keys: tuple[bytes, ...] = ()
    max_body_bytes: int = 8 << 20
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    send_seconds: float = 10.0


@dataclass(slots=True)
class Call:
    """One HTTP request as it was let in. `tenant` names the key that was used: what is cached for
    one is not found by another."""

    id: str
    arrival_ns: int
    path: str
    headers: dict[str, str]
    body: bytes = b""
    tenant: str = ""
    gone: bool = False
    held_up: bool = False  # what was sent waited for the client to read
    over: bool = False  # it is remembered what became of it
    _hear: list[Callable[[], None]] = field(default_factory=list)

    def when_gone(self, hear: Callable[[], None]) -> None:
        """Call `hear` as soon as the client has left."""
        if self.gone:
            hear()
        else:
            self._hear.append(hear)

    def leave(self) -> None:
        """The client has left."""
        self.gone = True
        hearing, self._hear = self._hear, []
        for hear in hearing:
            hear()


def key_digest(key: str) -> bytes:
    """What is kept of a key."""
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def call_of(scope: Scope) -> Call:
    """The call of a request, or of a socket that wants to be opened."""
    headers = _headers(scope)
    asked = headers.get("x-request-id", "")
    request_id = asked if _CLIENT_ID.fullmatch(asked) else new_id()
    arrival_ns = scope.get(ARRIVAL) or time.monotonic_ns()
    return Call(request_id, arrival_ns, scope["path"], headers)


def admit(
    scope: Scope, call: Call, bounds: Bounds, without_key: Collection[str] = frozenset()
) -> None:
    """Host and key, which the paths `without_key` do not need. Raises ApiError."""
    headers = call.headers
    if bounds.hosts and _host_name(headers.get("host", "")) not in bounds.hosts:
        raise ApiError(
            "host_not_allowed",
            "This Host is not served here.",
            hint="Name it with --allowed-host.",
        )
    if bounds.keys and scope["path"] not in without_key:
        call.tenant = _tenant(headers.get("authorization", ""), bounds.keys)


class Limits:
    """ASGI middleware around the routes; `without_key`: the paths that need none."""

    def __init__(
        self, app: App, bounds: Bounds, without_key: Collection[str] = frozenset()
    ) -> None:
        self._app = app
        self._bounds = bounds
        self._without_key = without_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        scope[CALL] = call = call_of(scope)
        request_id = call.id
        started = False

        async def answer(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = [(b"x-request-id", request_id.encode())]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        try:
            admit(scope, call, self._bounds, self._without_key)
            _check_kind(scope, call)
            await self._read(scope, receive, call)
            await self._watched(scope, answer, call)
        except ClientGone:
            call.leave()
            scope[ABORT]()  # what is not read is not kept
        except ApiError as error:
            if not started:
                await _send_error(answer, error)
        except Exception as error:
            words = worded(error, request_id)
            if started:
                scope[ABORT]()
            else:
                await _send_error(answer, words)

    async def _read(self, scope: Scope, receive: Receive, call: Call) -> None:
        limit = self._bounds.max_body_bytes
        declared = call.headers.get("content-length", "0")
        if not declared.isdigit() or int(declared[:12]) > limit:
            raise _too_large(limit)
        parts, size, more = [], 0, True
        try:
            async with asyncio.timeout(self._bounds.body_seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        raise _too_large(limit)
                    more = message.get("more_body", False)
        except TimeoutError:
            raise ApiError("timeout", "The body did not arrive in time.") from None
        call.body = b"".join(parts)

    async def _watched(self, scope: Scope, send: Send, call: Call) -> None:
        """Run the routes, and tell them when the client leaves: `call.gone`. One that does not read
        has left in the end: the connection is dropped."""
        flow = scope[FLOW]

        async def heard(message: MutableMapping[str, Any]) -> None:
            call.held_up = call.held_up or flow.write_paused
            await send(message)
            if call.gone:
                raise ClientGone

        async def nothing_more() -> MutableMapping[str, Any]:
            left = asyncio.Event()
            call.when_gone(left.set)
            await left.wait()
            return {"type": "http.disconnect"}

        hear = scope[HEAR]
        hear.add(call.leave)
        try:
            await self._app(scope, nothing_more, heard)
        finally:
            hear.discard(call.leave)


class ClientGone(Exception):
    """The client left."""


def _check_kind(scope: Scope, call: Call) -> None:
    if scope["http_version"] not in ("1.0", "1.1"):  # the parser takes any digits
        raise ApiError("invalid_request", "HTTP/1.1 is spoken here.")
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if scope["method"] == "POST" and kind != "application/json":
        raise ApiError("unsupported_media_type", "Send JSON, with content-type: application/json.")
    coding = call.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):  # a small body could become a large one
        raise ApiError(
            "unsupported_media_type",
            f"The body has the content-encoding {coding[:40]!r}; none is read here.",
            hint="Send it as it is, without content-encoding.",
        )


def _too_large(limit: int) -> ApiError:
    return ApiError("too_large", f"The body has more than {limit} bytes.")


def _headers(scope: Scope) -> dict[str, str]:
    """Names in lower case. Of one that is given twice the first counts."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1"), value.decode("latin-1"))
    return found


def _host_name(host: str) -> str:
    """The name of a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _tenant(authorization: str, keys: Collection[bytes]) -> str:
    """Compares with every key, each in constant time, whichever matches."""
    scheme, _, given = authorization.partition(" ")
    digest = key_digest(given.strip())
    matches = [hmac.compare_digest(digest, known) for known in keys]
    if scheme.lower() != "bearer" or not any(matches):
        raise ApiError(
            "invalid_api_key",
            "The API key is missing or wrong.",
            hint="Send Authorization: Bearer.",
        )
    return digest.hex()[:16]


async def _send_error(send: Send, error: ApiError) -> None:
    body = error.encoded()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **error.headers(),
    }
    if error.code in ("too_large", "timeout"):
        headers["connection"] = "close"  # the rest of the body is not read
    await send(
        {
            "type": "http.response.start",
            "status": error.status,
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
