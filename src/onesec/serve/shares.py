"""Shares: how many of the open requests each key may have, so that none keeps the others out.

It must not know HTTP or what is asked. Alone, a key may have all; as soon as another one asks, each
has an equal share, and what one holds beyond it is not taken away, only not given again.
"""

from __future__ import annotations

from collections import Counter

ASKING_NS = 1_000_000_000  # who asked in the last second has a share, also if it holds nothing


class Shares:
    """Places by key.

    >>> shares = Shares(4)
    >>> [shares.take("a", 1, now_ns=0) for _ in range(4)], shares.take("b", 1, now_ns=0)
    ([True, True, True, True], False)
    >>> shares.leave("a", 1); shares.take("a", 1, now_ns=1), shares.take("b", 1, now_ns=1)
    (False, True)
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        self._of: Counter[str] = Counter()
        self._asked_ns: dict[str, int] = {}  # the oldest first

    def take(self, key: str, count: int, *, now_ns: int) -> bool:
        """Take places, or none; whether there were enough for that key."""
        if not count:
            return True
        if count > self.room(key, now_ns=now_ns):
            self._of += Counter()  # without those that hold nothing
            return False
        self.held += count
        self._of[key] += count
        return True

    def room(self, key: str, *, now_ns: int) -> int:
        """How many places that key may take now. Who asks has a share."""
        self._asked_ns.pop(key, None)
        self._asked_ns[key] = now_ns
        while self._asked_ns and (oldest := next(iter(self._asked_ns))) != key:
            if now_ns - self._asked_ns[oldest] < ASKING_NS:
                break
            del self._asked_ns[oldest]
        sharing = len(self._asked_ns.keys() | self._of.keys())
        free = self.most - self.held
        if sharing == 1:
            return free
        return max(0, min(free, max(1, self.most // sharing) - self._of[key]))

    def leave(self, key: str, count: int) -> None:
        """Give places back."""
        self.held -= count
        self._of[key] -= count
        if not self._of[key]:
            del self._of[key]
