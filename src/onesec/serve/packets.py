"""Packets: what is written to a socket in one pass of the event loop goes out as one piece.

It must not know HTTP. A head and the first bytes behind it would else be two calls of the kernel,
two packets, and two wake-ups of whoever reads them.
"""

from __future__ import annotations

import asyncio
from typing import Any

_AT_ONCE = 16 << 10  # bytes that need not wait for more


class Packets:
    """A transport whose writes are gathered; everything else is the transport's own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held: list[bytes] = []
        self._size = 0

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
            self._transport.write(b"".join(held))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
