"""Since when bytes may have waited, on a clock that the test tells what to say."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from selectors import EVENT_READ

import pytest

from onesec.core.clock import FakeClock
from onesec.serve.looking import Looks, run

MS = 10**6


class Told:
    """A clock that says one instant after the other, in milliseconds."""

    def __init__(self, instants_ms: Iterable[float]) -> None:
        self._instants_ms = iter(instants_ms)

    def now_ns(self) -> int:
        return round(next(self._instants_ms) * MS)


@pytest.mark.parametrize(
    ("second_look_ms", "since_ms"),
    [
        pytest.param((40.0, 40.001), 10.0, id="found at once: since the look before"),
        pytest.param((40.0, 70.0), 70.0, id="waited for: when it was found"),
    ],
)
def test_what_is_found_at_once_may_have_waited_since_the_look_before(
    second_look_ms: tuple[float, float], since_ms: float
) -> None:
    looks = Looks(Told((0.0, 5.0, 10.0, *second_look_ms)))
    ours, theirs = socket.socketpair()
    with ours, theirs, looks:
        looks.register(ours, EVENT_READ)
        assert looks.select(0) == []
        theirs.send(b"x")
        assert len(looks.select(0)) == 1
    assert looks.since_ns == round(since_ms * MS)


def test_a_loop_runs_on_it_and_a_pass_that_computes_is_told_of() -> None:
    clock = FakeClock(1)
    looks = Looks(clock)

    async def main() -> int:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        heard = loop.create_future()
        with ours, theirs:
            loop.add_reader(ours, lambda: heard.done() or heard.set_result(looks.since_ns))
            await asyncio.sleep(0)
            before_ns = clock.now_ns()
            theirs.send(b"x")  # comes while the loop computes
            clock.advance_ms(30.0)
            since_ns: int = await heard
            loop.remove_reader(ours)
        assert clock.now_ns() - before_ns == 30 * MS
        return before_ns - since_ns

    assert run(main(), looks) == 0
