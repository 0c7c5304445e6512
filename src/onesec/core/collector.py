"""Collector: keeps Python's garbage collector out of work that is due, where its owner wants that.

The collector belongs to the process, so whoever uses this says so where the process can read it,
and gives everything back. It must not know what the work is.
"""

from __future__ import annotations

import gc
from threading import RLock
from typing import ClassVar


class QuietCollector:
    """Holds the collector back while something is due. Once made, it has collected, and taken what
    was alive then out of all later collections (gc.freeze).

    >>> quiet = QuietCollector()
    >>> quiet.hold("a"); gc.isenabled()
    False
    >>> quiet.release("a"); gc.isenabled()
    True
    >>> quiet.close()

    Several of one process share it: it is held as long as one of them holds it.
    """

    _lock: ClassVar[RLock] = RLock()
    _holding: ClassVar[set[QuietCollector]] = set()
    _freezing: ClassVar[set[QuietCollector]] = set()
    _enabled: ClassVar[bool] = False  # as it was found, while somebody holds it

    def __init__(self) -> None:
        self._due: set[str] = set()
        with self._lock:
            if self._freezing or gc.get_freeze_count() == 0:  # else it is others', and stays
                gc.collect()
                gc.freeze()
                self._freezing.add(self)

    def hold(self, name: str) -> None:
        """No collection begins until this is released."""
        with self._lock:
            if not self._holding:
                QuietCollector._enabled = gc.isenabled()
                gc.disable()
            self._holding.add(self)
            self._due.add(name)

    def release(self, name: str) -> None:
        """That is done, if it held; after the last one the collector is as it was found."""
        with self._lock:
            if name not in self._due:
                return
            self._due.remove(name)
            if not self._due:
                self._holding.remove(self)
                if not self._holding and self._enabled:
                    gc.enable()

    def close(self) -> None:
        """Give back whatever was held or frozen; harmless when called again."""
        for name in tuple(self._due):
            self.release(name)
        with self._lock:
            if self in self._freezing:
                self._freezing.remove(self)
                if not self._freezing:
                    gc.unfreeze()
