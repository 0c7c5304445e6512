"""PartFile: a file that appears under its name only when it is complete; and what a disk refuses.

It must not know what is written.
"""

from __future__ import annotations

import fcntl
import glob
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from onesec.core.errors import NotWritten


class PartFile:
    """An unnamed neighbour of `path` to write to; it takes the name when the block ends well.

    `file` is open for binary writing and seeking. A format's writer is one that completes its file
    in `keep`. Raises OSError where the disk refuses; after an error nothing is left, and whatever
    was at `path` is still there. What a killed process left is cleared by the next.

    >>> with PartFile(Path("x.bin")) as part:  # doctest: +SKIP
    ...     part.file.write(b"whole")
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        clear_abandoned(parts_of(path))
        prefix, suffix = affixes(path)
        while True:
            handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path.parent)
            if lock(handle, or_else=True) and os.fstat(handle).st_nlink:
                break
            os.close(handle)  # another writer took it for an abandoned one
        self._part = Path(name)
        self.file: IO[bytes] = os.fdopen(handle, "wb")

    def keep(self) -> None:
        """All is written: sync, and give the file its name."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self._part.chmod(0o644)
        self._part.replace(self.path)
        self.file.close()

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


def lock(handle: int, *, or_else: bool = False) -> bool:
    """Lock an open file or folder until it is closed, however its process ends; False where another
    process holds the lock, `or_else` where the file system knows no locks.

    >>> with open("/dev/null") as file:
    ...     lock(file.fileno())
    True
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems
        return or_else
    return True


def affixes(path: Path) -> tuple[str, str]:
    """How the name of a part of `path` begins and ends.

    >>> affixes(Path("m.gguf"))
    ('.m.gguf.', '.part')
    """
    return f".{path.name}.", ".part"


def parts_of(path: Path, suffix: str = ".part") -> Iterator[Path]:
    """The files and folders that were begun to become `path`, or that it had to make room for
    (".old"); none of a name that begins alike.

    >>> list(parts_of(Path("nowhere/x")))
    []
    """
    prefix, _ = affixes(path)
    for part in path.parent.glob(f"{glob.escape(prefix)}*{suffix}"):
        if "." not in part.name[len(prefix) : -len(suffix)]:
            yield part


def clear_abandoned(files: Iterable[Path]) -> None:
    """Remove those of the files that no process has locked: their writers were killed.

    >>> clear_abandoned([Path("nowhere/x")])
    """
    for file in filter(Path.is_file, files):
        with suppress(OSError):
            handle = os.open(file, os.O_RDONLY)
            try:
                if lock(handle):
                    file.unlink()
            finally:
                os.close(handle)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Inside, what the disk refuses is told as NotWritten about `path`."""
    try:
        yield
    except OSError as exc:
        raise NotWritten(path, exc.strerror) from exc
