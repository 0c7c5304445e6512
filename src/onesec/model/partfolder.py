"""part_folder: a folder that appears under its name only when it is complete.

It must not know what is written.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from onesec.core.errors import InvalidRequest

from .partfile import affixes, disk_errors, lock, parts_of


@contextmanager
def part_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, which takes its name when the block ends well, in the place of
    whatever folder was there. After an error, or a kill, that one is untouched; what a killed
    process left is cleared by the next. A link is followed: what it points to is replaced.
    Raises OSError where the disk refuses.

    >>> with part_folder(Path("out")) as part:  # doctest: +SKIP
    ...     (part / "a.txt").write_text("whole")
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_abandoned(path)
    part, held = _new(path)
    try:
        part.chmod(0o755)
        yield part
        _swap(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(held)


def _new(path: Path) -> tuple[Path, int]:
    """A new folder beside `path`, and its lock."""
    prefix, suffix = affixes(path)
    while True:
        part = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=path.parent))
        with suppress(FileNotFoundError):  # another writer took it for an abandoned one
            held = _lock(part, or_else=True)
            if held is None:
                continue
            if part.exists():
                return part, held
            os.close(held)


def check_name(path: Path) -> None:
    """Raise InvalidRequest for a path without a name of its own (".", "..", "/"), and for one that
    lies in what is no folder; ModelError where the disk refuses to tell.

    >>> check_name(Path("out"))
    """
    if path.name in ("", ".."):
        raise InvalidRequest(
            f"{path} has no name that a new folder could take.",
            hint="Name a folder, such as model.onesec.",
        )
    with disk_errors(path):
        above = next((parent for parent in path.parents if parent.exists()), None)
    if above is not None and not above.is_dir():
        raise InvalidRequest(
            f"{above} is no folder, so there is no place for {path}.", hint="Choose another folder."
        )


def written_bytes(path: Path) -> int:
    """Bytes of a file, or of all files in a folder and in those below it."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _lock(folder: Path, *, or_else: bool = False) -> int | None:
    """A locked descriptor of a folder; None where another process holds the lock (`or_else`: but
    not where the file system knows none). The system unlocks it when the process ends, however it
    ends."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    if lock(handle, or_else=or_else):
        return handle
    os.close(handle)
    return None


def _clear_abandoned(path: Path) -> None:
    """Remove what processes that were killed while writing this folder left beside it; a folder
    that one of them had put aside gets its name back, unless there is another."""
    for part in parts_of(path):
        with suppress(OSError):
            held = _lock(part)
            if held is not None:
                _put_back(part.with_suffix(".old"), path)
                shutil.rmtree(part, ignore_errors=True)
                os.close(held)
    if not path.exists():
        return
    for old in parts_of(path, ".old"):  # whose writer has given the new folder its name already
        if not old.with_suffix(affixes(path)[1]).exists():
            shutil.rmtree(old, ignore_errors=True)


def _swap(part: Path, path: Path) -> None:
    """Give the finished folder its name; the folder that had it goes."""
    old = part.with_suffix(".old")
    if path.exists():
        path.rename(old)
    try:
        part.rename(path)
    finally:
        _put_back(old, path)


def _put_back(old: Path, path: Path) -> None:
    """A folder that was put aside has its name again, or goes where another has it now."""
    if old.is_dir() and not path.exists():
        old.rename(path)
    shutil.rmtree(old, ignore_errors=True)
