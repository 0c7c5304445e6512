"""`onesec serve` as a command of its own: two processes, started and ended by tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onesec


def start(*words: str) -> subprocess.Popen[str]:
    """The command, told nothing yet."""
    source = str(Path(onesec.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-m", "onesec", "serve", *words],
        env={**os.environ, "PYTHONPATH": source, "PYTHONUTF8": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


class Served:
    """A running command, its address, its promise, and what it says after that."""

    def __init__(self, *words: str, model: str = "onesec-mini") -> None:
        self.process = start(model, "--port", "0", "--threads", "1", *words)
        assert self.process.stderr is not None
        self.said: list[str] = []
        for line in self.process.stderr:
            self.said.append(line)
            if re.search(r"gear \S+, 1 user", line):
                break
        found = re.search(r"http://127\.0\.0\.1:\d+", "".join(self.said))
        assert found is not None, self.said
        self.url = found[0]
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.said += self.process.stderr

    def end(self) -> int:
        code = self.process.wait(60)
        self._reader.join(60)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@contextmanager
def served(*words: str, model: str = "onesec-mini") -> Iterator[Served]:
    """The command with a model, until the block ends."""
    server = Served(*words, model=model)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
        server.end()
