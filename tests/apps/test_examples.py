"""The examples in the docstrings are true."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

MODULES = [
    "onesec.knowledge.index",
    "onesec.knowledge.store",
    f"onesec.apps.{name}"
    for name in ("base", "text", "rank", "cite", "support", "translate", "answer", "summarize")
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name: str) -> None:
    result = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
