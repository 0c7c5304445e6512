"""The examples in the docstrings of what lands answers are true."""

import doctest
from importlib import import_module

import pytest

MODULES = [
    "budget.enders",
    "budget.json_end",
    "budget.landing",
    "budget.markdown",
    "core.response_format",
    "core.thinking",
    "engine.stopping",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    found = doctest.testmod(import_module(f"onesec.{name}"))
    assert found.attempted
    assert not found.failed
