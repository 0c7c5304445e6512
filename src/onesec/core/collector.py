"""Collector: keeps Python's garbage collector out of work that is due, where its owner wants that.

The collector belongs to the process, so whoever uses this says so where the process can read it,
and gives everything back. It must not know what the work is.
"""

from __future__ import annotations

import gc


class QuietCollector:
    """Holds the collector back while something is due. Once made, it has collected, and taken what
    was alive then out of all later collections (gc.freeze).

    >>> quiet = QuietCollector()
    >>> quiet.hold("a"); gc.isenabled()
    False
    >>> quiet.release("a"); gc.isenabled()
    True
    >>> quiet.close()
    """

    def __init__(self) -> None:
        self._due: set[str] = set()
        self._enabled = False
        self._frozen = gc.get_freeze_count() == 0  # else it is somebody else's, and stays
        if self._frozen:
            gc.collect()
            gc.freeze()

    def hold(self, name: str) -> None:
        """No collection begins until this is released."""
        if not self._due:
            self._enabled = gc.isenabled()
            gc.disable()
        self._due.add(name)

    def release(self, name: str) -> None:
        """That is done, if it held; after the last one the collector is as it was found."""
        if name in self._due:
            self._due.remove(name)
            if not self._due and self._enabled:
                gc.enable()

    def close(self) -> None:
        """Give back whatever was held or frozen; harmless when called again."""
        for name in tuple(self._due):
            self.release(name)
        if self._frozen:
            gc.unfreeze()
            self._frozen = False
