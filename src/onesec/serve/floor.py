"""Floor: one of two threads at a time in the engine: the one that runs it, or a guest meanwhile.

It must not know what they do there. The owner gives the floor away while it waits for a computation
or for work, and has it back before the guest comes in again: a stream of guests does not hold it up
for longer than one of them stays.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from types import TracebackType


class _Entry:
    """A context that is entered with one function and left with another, again and again."""

    def __init__(self, enter: Callable[[], None], leave: Callable[[], None]) -> None:
        self._enter = enter
        self._leave = leave

    def __enter__(self) -> None:
        self._enter()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._leave()


class Floor(_Entry):
    """The owner holds it inside `with floor:`; inside `with floor.lent:` in there it does not, and
    the guest may have it: `with floor.guest:`.

    >>> floor = Floor()
    >>> with floor, floor.lent, floor.guest:
    ...     "a guest"
    'a guest'
    """

    def __init__(self) -> None:
        self._held = Lock()
        self._door = Lock()  # whoever wants the floor passes it: nobody comes in twice in between
        super().__init__(self._take, self._held.release)
        self.guest = _Entry(self._take, self._held.release)
        self.lent = _Entry(self._held.release, self._take)

    def _take(self) -> None:
        with self._door:
            self._held.acquire()
