"""PartFile: a file that appears under its name only when it is complete; and what a disk refuses.

It must not know what is written.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from onesec.core.errors import ModelError


class PartFile:
    """An unnamed neighbour of `path` to write to; it takes the name when the block ends well.

    `file` is open for binary writing and seeking. A format's writer is one that completes its file
    in `keep`. Raises OSError where the disk refuses; after an
    error nothing is left, and whatever was at `path` is still there.

    >>> with PartFile(Path("x.bin")) as part:  # doctest: +SKIP
    ...     part.file.write(b"whole")
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        self._part = Path(name)
        self.file: IO[bytes] = os.fdopen(handle, "wb")

    def keep(self) -> None:
        """All is written: sync, and give the file its name."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        self._part.chmod(0o644)
        self._part.replace(self.path)

    def discard(self) -> None:
        """Give up: nothing is left on disk."""
        with suppress(OSError):  # of bytes that a full disk did not take before either
            self.file.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.discard()
            return
        try:
            self.keep()
        except BaseException:
            self.discard()
            raise


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Inside, what the disk refuses is told as a ModelError about `path`."""
    try:
        yield
    except OSError as exc:
        raise ModelError(
            f"{path} cannot be written ({exc.strerror}).", hint="Check space and permissions."
        ) from exc
