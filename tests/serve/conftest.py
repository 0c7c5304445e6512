"""The server's tests need its extra, and two clients; without them the folder is skipped."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

_NEEDED = ("starlette", "uvicorn", "prometheus_client", "httpx", "openai")
if any(find_spec(name) is None for name in _NEEDED):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="module")
def reciter() -> Iterator[Any]:
    """A server that recites, for tests that leave it as it was."""
    from live import live

    with live() as server:
        yield server
