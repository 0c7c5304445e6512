"""Journal: results of long work, kept line by line, so that a run that was killed goes on.

It must not know what the results mean.
"""

from __future__ import annotations

import json
import os
from hashlib import blake2b
from pathlib import Path
from typing import Any

from onesec.model.partfile import disk_errors


class Journal:
    """Values by key in a file of JSON lines. The first line says which work they belong to: another
    `fingerprint` begins anew. Every other line says so too, in short, since a process that does
    other work may still write to the file. A line cut off by a kill is dropped. Raises ModelError
    where the disk refuses.

    >>> journal = Journal(Path("work.jsonl"), "model and recipe")  # doctest: +SKIP
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path = path
        self._values: dict[str, Any] = {}
        self._work = blake2b(fingerprint.encode("utf-8", "replace"), digest_size=8).hexdigest()
        with disk_errors(path):
            lines = self._read()
            if lines and lines[0] == {"fingerprint": fingerprint}:
                mine = [line for line in lines[1:] if line.get("work") == self._work]
                self._values = {line["key"]: line["value"] for line in mine}
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"fingerprint": fingerprint}) + "\n", encoding="utf-8")

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        found = []
        text = self.path.read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines(keepends=True):
            try:
                value = json.loads(line)
            except ValueError:
                break
            if not isinstance(value, dict) or not line.endswith("\n"):
                break
            found.append(value)
        # What follows is appended: an unfinished last line must not stand before it.
        whole = "".join(json.dumps(value) + "\n" for value in found)
        if whole != text:
            self.path.write_text(whole, encoding="utf-8")
        return found

    def get(self, key: str) -> Any | None:
        """The value of a key, or None."""
        return self._values.get(key)

    def put(self, key: str, value: Any) -> None:
        """Keep a JSON value; it is on the disk when this returns."""
        self._values[key] = value
        with disk_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"work": self._work, "key": key, "value": value}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def finish(self) -> None:
        """Remove the file: the work is done."""
        with disk_errors(self.path):
            self.path.unlink(missing_ok=True)
