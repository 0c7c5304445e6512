"""Newest: which request the door reads next where it cannot read all at once: the newest one.

It must not know HTTP or what is asked. A queue that grows makes everybody late when it is served in
order; served from its new end, those that are served are in time. Whoever has waited long for its
budget in a queue that does not get empty is told no at once, which costs less than reading it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from onesec.core.clock import Clock

_LASTING_NS = 100_000_000  # a queue that was not empty for so long is no burst
_SHARE = 0.1  # of a budget that may be waited here then


class Crowded(Exception):
    """There is no hope to be read in time; `waiting` are before the door."""

    def __init__(self, waiting: int) -> None:
        super().__init__(waiting)
        self.waiting = waiting


@dataclass(slots=True)
class _Waiting:
    turn: asyncio.Future[None]
    until_ns: int | None  # waits no longer, where the queue lasts


class Newest:
    """One turn for each pass of the event loop, so that what has come meanwhile is heard first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: deque[_Waiting] = deque()  # the newest is the last one
        self._taken = False  # this pass's turn
        self._since_ns = 0  # when the queue was empty last

    async def turn(self, budget_ms: float | None) -> bool:
        """Wait for one's turn; whether there was anything to wait for. Raises Crowded."""
        loop = asyncio.get_running_loop()
        if not self._taken:
            self._taken = True
            loop.call_soon(self._next)
            return False
        now_ns = self._clock.now_ns()
        if not self._queue:
            self._since_ns = now_ns
        until_ns = None if budget_ms is None else now_ns + round(_SHARE * budget_ms * 1e6)
        waiting = _Waiting(loop.create_future(), until_ns)
        self._queue.append(waiting)
        await waiting.turn
        return True

    def _next(self) -> None:
        """Give the turn of this pass to the newest one, and send away who has waited long."""
        queue, now_ns = self._queue, self._clock.now_ns()
        if now_ns - self._since_ns >= _LASTING_NS:
            for each in list(queue):
                if each.until_ns is not None and each.until_ns <= now_ns:
                    queue.remove(each)
                    if not each.turn.done():
                        each.turn.set_exception(Crowded(len(queue)))
        while queue and (newest := queue.pop()):
            if not newest.turn.done():  # else its client has left
                newest.turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._next)
                return
        self._taken = False
