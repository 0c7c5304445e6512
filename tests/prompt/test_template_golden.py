"""Chat templates against texts that transformers rendered from the same templates and messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onesec.prompt.template import ChatTemplate

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))
CASES = [
    pytest.param(file, index, id=f"{file.stem}-{index}")
    for file in GOLDEN
    for index in range(len(json.loads(file.read_text(encoding="utf-8"))["cases"]))
]


def test_there_are_enough_shapes() -> None:
    assert len(GOLDEN) >= 12
    assert len(CASES) >= 50


@pytest.mark.parametrize(("file", "index"), CASES)
def test_same_bytes_as_transformers(file: Path, index: int) -> None:
    golden = json.loads(file.read_text(encoding="utf-8"))
    case = golden["cases"][index]
    template = ChatTemplate(golden["template"], special_tokens=golden["special_tokens"])
    assert template.render(case["messages"], **case["options"]) == case["text"]
