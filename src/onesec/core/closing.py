"""Closing: what owns something that must be given back, as a context manager.

It must not know what is owned: standard library only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self


class Closing(ABC):
    """A context manager that closes itself at the end, whatever happened inside.

    >>> with Artifact(path) as artifact:  # doctest: +SKIP
    ...     artifact.packed("embed")
    """

    @abstractmethod
    def close(self) -> None:
        """Give back what is owned. Harmless when called again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
