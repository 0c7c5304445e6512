"""The examples in the docstrings are true."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

MODULES = [
    *(
        f"apps.{name}"
        for name in (
            "text",
            "rank",
            "cite",
            "support",
            "translate",
            "answer",
            "summarize",
            "metrics",
            "judge",
            "landed",
            "ask",
            "chunks",
            "target",
        )
    ),
    "compress.scores",
    "knowledge.index",
    "knowledge.store",
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name: str) -> None:
    result = doctest.testmod(import_module(f"onesec.{name}"), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0
