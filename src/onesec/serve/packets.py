"""Packets: what is written to a socket in one pass of the event loop goes out as one piece.

It must not know HTTP. A head and the first bytes behind it would else be two calls of the kernel,
two packets, and two wake-ups of whoever reads them. A peer that does not read what was written is
left, also when all of it was: a transport that closes would wait for such a peer for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

_AT_ONCE = 16 << 10  # bytes that need not wait for more


class Packets:
    """A transport whose writes are gathered; everything else is the transport's own. It is aborted
    where of what waits to be read nothing was for `unread_seconds`."""

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        unread_seconds: float,
    ) -> None:
        self._transport, self._loop = transport, loop
        self._unread_seconds = unread_seconds
        self._held: list[bytes] = []
        self._size = 0
        self._written = 0  # bytes that the transport was given
        self._watched = False

    def write(self, data: bytes) -> None:
        """Send it with what else is written before the loop goes on."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._size += len(data)
        if self._size >= _AT_ONCE:
            self._flush()

    def close(self) -> None:
        """Close when all that was written is sent."""
        self._flush()
        self._transport.close()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Who hears of the connection from now on."""
        self._flush()
        self._transport.set_protocol(protocol)

    def _flush(self) -> None:
        held, self._held, self._size = self._held, [], 0
        if held:
            data = b"".join(held)
            self._written += len(data)
            self._transport.write(data)
            if not self._watched:
                self._watch()

    def _watch(self) -> None:
        """While anything waits to be read, look whether some of it was."""
        unread = self._transport.get_write_buffer_size()
        self._watched = unread > 0
        if self._watched:
            self._loop.call_later(self._unread_seconds, self._look, self._written - unread)

    def _look(self, read: int) -> None:
        """So much was read when it was looked at last."""
        unread = self._transport.get_write_buffer_size()
        if unread and self._written - unread <= read:
            self._transport.abort()
        self._watch()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
