"""Protocol: HTTP/1.1 on a socket, with limits on slow and on many peers.

It must not know routes. uvicorn's protocol does the parsing; this adds what it lacks: an absolute
time for a request's head, a limit on sockets, all of them and of one peer, and the instant of a
request's first byte.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import Any, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from onesec.core.clock import Clock, MonotonicClock

MAX_SOCKETS = 512
MAX_SOCKETS_OF_A_PEER = 64  # a proxy on this machine is no such peer
MAX_HEAD_BYTES = 64 << 10
ABORT = "onesec.abort"  # in the scope: drops the connection with all that was not read
ARRIVAL = "onesec.arrival_ns"  # in the scope: monotonic, of the request's first byte


class Protocol(H11Protocol):
    """One connection."""

    head_seconds = 10.0
    clock: Clock = MonotonicClock()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._first_byte_ns: int | None = None
        self._known_cycle: Any = None
        self._head_timer: asyncio.TimerHandle | None = None
        of_peer = 0
        if self.client is not None and not ip_address(self.client[0]).is_loopback:
            peers = [getattr(other, "client", None) for other in self.connections]
            of_peer = sum(peer is not None and peer[0] == self.client[0] for peer in peers)
        if len(self.connections) > MAX_SOCKETS or of_peer > MAX_SOCKETS_OF_A_PEER:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._first_byte_ns is None and self.conn.their_state is h11.IDLE:
            self._first_byte_ns = self.clock.now_ns()
            if self._head_timer is None:  # the next request of a connection that is kept alive
                self._await_head()
        super().data_received(data)
        self._look_for_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look_for_head()  # of a request that was sent before its answer to the one before

    def _look_for_head(self) -> None:
        if self.cycle is not self._known_cycle:  # a head is complete: its task has not run yet
            self._known_cycle = self.cycle
            scope = cast(dict[str, Any], self.scope)
            scope[ARRIVAL] = self._first_byte_ns or self.clock.now_ns()
            scope[ABORT] = self.transport.abort
            self._first_byte_ns = None
            self._forget_timer()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """The connection goes on as a socket, which has limits of its own."""
        self._forget_timer()
        super().handle_websocket_upgrade(event)

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
