"""LengthStore: what was learned of a model's answers, kept on disk for the next start.

It must not know requests or what lengths are used for. Several processes may keep one file: each
adds what it has learned since its last time, under a lock. What is kept are counts, never text.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from threading import Thread

from onesec.budget.length import LengthModel

from .profile import write_whole

_EVERY_NS = 300_000_000_000  # between two times that an idle engine keeps what it has learned
_MOST_BYTES = 8 << 20  # of a file that is read: more than a full model takes
_LOCK_TRIES, _LOCK_WAIT_S = 25, 0.02


class LengthStore:
    """One model's file in `cache_dir`; `model` is a fingerprint of the model.

    A damaged or foreign file counts as none, and one that cannot be written is not an error.

    >>> store = LengthStore(Path("/tmp/cache"), "a fingerprint")  # doctest: +SKIP
    >>> lengths = store.load()  # doctest: +SKIP
    >>> store.keep(lengths)  # doctest: +SKIP
    """

    def __init__(self, cache_dir: Path, model: str) -> None:
        key = blake2b(model.encode(), digest_size=16).hexdigest()
        self.path = cache_dir / f"lengths-{key}.json"
        self._kept_ns: int | None = None
        self._thread: Thread | None = None

    def load(self) -> LengthModel:
        """What is kept, or a model that knows nothing."""
        with suppress(OSError, ValueError, RecursionError):
            with open(self.path, "rb") as file:
                raw = file.read(_MOST_BYTES + 1)
            if len(raw) <= _MOST_BYTES:
                return LengthModel.from_dict(json.loads(raw))
        return LengthModel()

    def idle(self, lengths: Callable[[], LengthModel], now_ns: int) -> None:
        """The engine has nothing to do: keep what is new, in a thread, every few minutes."""
        if self._kept_ns is None:
            self._kept_ns = now_ns
        if now_ns - self._kept_ns < _EVERY_NS or (self._thread and self._thread.is_alive()):
            return
        self._kept_ns = now_ns
        news = lengths().take_news()
        if news.cells:
            self._thread = Thread(target=self._merge, args=(news,), name="onesec-lengths")
            self._thread.start()

    def keep(self, lengths: LengthModel) -> None:
        """Add what was learned since the last time to what is kept, now."""
        if self._thread is not None:
            self._thread.join()
        news = lengths.take_news()
        if news.cells:
            self._merge(news)

    def _merge(self, news: LengthModel) -> None:
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked():
                kept = self.load()
                kept.merge(news)
                write_whole(self.path, json.dumps(kept.to_dict(), separators=(",", ":")))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The only one that writes, among all processes. Raises OSError where another one holds the
        lock for so long that it must be stuck."""
        handle = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            for left in reversed(range(_LOCK_TRIES)):
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not left:
                        raise
                    time.sleep(_LOCK_WAIT_S)
                except OSError:  # a file system without locks: who writes last is kept
                    break
            yield
        finally:
            os.close(handle)
