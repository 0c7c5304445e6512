"""Looking: an event loop that knows since when what it hears may have waited to be heard.

It must not know HTTP or what is heard. A loop looks at its sockets between two passes. What a look
finds at once may have come at any instant since the look before, while the pass computed: on a
crowded machine that is most of a short deadline, and no clock read afterwards tells of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from selectors import DefaultSelector, SelectorKey
from typing import Any, TypeVar

from onesec.core.clock import Clock

Result = TypeVar("Result")
_AT_ONCE_NS = 20_000  # a look that takes longer has waited for what it found


class Looks(DefaultSelector):
    """A selector. `since_ns`: the earliest instant at which what was found last can have come."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._looked_ns = self.since_ns = clock.now_ns()

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        begin_ns = self._clock.now_ns()
        found = super().select(timeout)
        end_ns = self._clock.now_ns()
        waited = end_ns - begin_ns > _AT_ONCE_NS
        self.since_ns, self._looked_ns = (end_ns if waited else self._looked_ns), end_ns
        return found


def run(main: Coroutine[Any, Any, Result], looks: Looks) -> Result:
    """asyncio.run on a loop that looks so."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(looks)) as runner:
        return runner.run(main)
