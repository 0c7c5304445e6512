"""Writes of one pass of the loop are one write of the transport, in order, and none is lost."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from onesec.serve.packets import Packets


class Transport:
    """What was done to it, in order."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.unread = 0

    def get_write_buffer_size(self) -> int:
        return self.unread

    def abort(self) -> None:
        self.done.append("abort")
        self.unread = 0

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def close(self) -> None:
        self.done.append("close")

    def set_protocol(self, protocol: object) -> None:
        self.done.append(protocol)

    def is_closing(self) -> bool:
        return False


def packets(transport: Transport) -> Packets:
    return Packets(cast(asyncio.Transport, transport), asyncio.get_running_loop(), 0.0)


def test_a_head_and_what_follows_it_are_one_piece() -> None:
    async def run() -> list[Any]:
        transport = Transport()
        gathered = packets(transport)
        gathered.write(b"head ")
        gathered.write(b"body")
        assert transport.done == []
        await asyncio.sleep(0)
        gathered.write(b"more")
        assert not gathered.is_closing()
        await asyncio.sleep(0)
        return transport.done

    assert asyncio.run(run()) == [b"head body", b"more"]


def test_nothing_is_sent_behind_a_farewell() -> None:
    async def run() -> list[Any]:
        transport = Transport()
        gathered = packets(transport)
        gathered.write(b"last words")
        gathered.close()
        other = packets(transport)
        other.write(b"101")
        other.set_protocol(cast(asyncio.BaseProtocol, "next"))
        await asyncio.sleep(0)
        return transport.done

    assert asyncio.run(run()) == [b"last words", "close", b"101", "next"]


def test_a_peer_is_left_that_reads_nothing_more() -> None:
    async def run() -> list[Any]:
        transport = Transport()
        gathered = packets(transport)
        gathered.write(b"a long answer")
        transport.unread = 9
        gathered.close()
        for transport.unread in (6, 3):
            await asyncio.sleep(0)
            assert "abort" not in transport.done
        for _ in range(5):
            await asyncio.sleep(0)
        return transport.done

    assert asyncio.run(run()) == [b"a long answer", "close", "abort"]


@given(st.lists(st.tuples(st.binary(max_size=20_000), st.booleans()), max_size=12))
def test_every_byte_comes_in_its_order(writes: list[tuple[bytes, bool]]) -> None:
    async def run() -> Transport:
        transport = Transport()
        gathered = packets(transport)
        for data, rests in writes:
            gathered.write(data)
            if rests:
                await asyncio.sleep(0)
        gathered.close()
        return transport

    transport = asyncio.run(run())
    assert b"".join(transport.done[:-1]) == b"".join(data for data, _ in writes)
    assert transport.done[-1] == "close"
