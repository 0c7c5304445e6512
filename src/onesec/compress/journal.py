"""Journal: results of long work, kept line by line, so that a run that was killed goes on.

It must not know what the results mean.
"""

from __future__ import annotations

import glob
import json
import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

from onesec.model.partfile import clear_abandoned, disk_errors, lock


class Journal:
    """Values by key in a file of JSON lines beside `output`, one for each work: `fingerprint` is
    part of its name. What killed runs of other work left for this output is removed.

    A run locks its file, so that it is nobody else's until the block ends; runs of other work have
    files of their own. Where the same work is being done already, its values so far are read and
    nothing is written: they are kept by the run that was first. A line cut off by a kill is
    dropped; a file without any goes when the block ends. Raises ModelError where the disk refuses.

    >>> with Journal(Path("out"), "model and recipe") as journal:  # doctest: +SKIP
    ...     journal.put("text", [1, 2])
    """

    def __init__(self, output: Path, fingerprint: str) -> None:
        work = blake2b(fingerprint.encode("utf-8", "replace"), digest_size=8).hexdigest()
        self.path = output.with_name(f".{output.name}.journal-{work}")
        self._values: dict[str, Any] = {}
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            pattern = f".{glob.escape(output.name)}.journal-{'[0-9a-f]' * len(work)}"
            others = self.path.parent.glob(pattern)
            clear_abandoned(other for other in others if other != self.path)
            while True:
                self._file = self.path.open("a+b")
                self._mine = lock(self._file.fileno(), or_else=True)
                if not self._mine or os.fstat(self._file.fileno()).st_nlink:
                    break
                self._file.close()  # another run removed it as we opened it
            self._read()

    def _read(self) -> None:
        self._file.seek(0)
        whole = 0
        for line in self._file:
            try:
                found = json.loads(line)
                self._values[found["key"]] = found["value"]
            except (ValueError, TypeError, KeyError):
                break
            if not line.endswith(b"\n"):
                break
            whole += len(line)
        if self._mine:
            # What follows is appended: an unfinished last line must not stand before it.
            self._file.truncate(whole)

    def get(self, key: str) -> Any | None:
        """The value of a key, or None."""
        return self._values.get(key)

    def put(self, key: str, value: Any) -> None:
        """Keep a JSON value; it is on the disk when this returns, where the file is this run's."""
        self._values[key] = value
        if self._mine:
            with disk_errors(self.path):
                self._file.write(json.dumps({"key": key, "value": value}).encode() + b"\n")
                self._file.flush()
                os.fsync(self._file.fileno())

    def finish(self) -> None:
        """The work is done: remove the file, where it is this run's."""
        if self._mine:
            self._mine = False  # whatever has this name from now on
            with disk_errors(self.path):
                self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._mine and not self._values:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
        with suppress(OSError):  # of bytes that a full disk did not take before either
            self._file.close()
