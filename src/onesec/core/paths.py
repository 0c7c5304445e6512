"""Paths: what a caller gave as the path of a file or folder. It must not know what lies there."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import InvalidRequest

_LONGEST = 100  # characters of a message that repeats what was given


def path_of(given: object) -> Path:
    """What was given, as a path. Raises InvalidRequest for what nothing can be called: another kind
    of value, a NUL, characters that no file's name has.

    >>> path_of("models/mine").name
    'mine'
    """
    if not isinstance(given, str | os.PathLike):
        raise InvalidRequest(
            f"A path cannot be a {type(given).__name__}; it must be text or a Path."
        )
    shown = ascii(str(given))[:_LONGEST]
    try:
        path = Path(given)
        place = os.fsencode(path).find(b"\0")
    except (TypeError, UnicodeEncodeError) as error:
        raise InvalidRequest(
            f"{shown} cannot be a path ({error}).", hint="Choose another name."
        ) from None
    if place >= 0:
        raise InvalidRequest(
            f"{shown} cannot be a path: there is a NUL at byte {place}.",
            hint="Choose another name.",
        )
    return path
