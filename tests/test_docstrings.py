"""Every example in a docstring is true. Those of modules that need torch need a GPU, too."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"


def modules() -> list[str]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if ">>> " in text and "import torch" not in text:
            found.append(".".join(path.relative_to(SOURCE).with_suffix("").parts))
    return found


@pytest.mark.parametrize("name", modules())
def test_examples(name: str) -> None:
    result = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert not result.failed
