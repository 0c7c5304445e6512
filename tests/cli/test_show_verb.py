"""`onesec show`, and what a refusal says of an artifact's gears."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("onesec._native")

from onesec.cli.main import main
from onesec.llm import LLM


def test_gears_stand_in_the_engines_order(capsys: pytest.CaptureFixture[str]) -> None:
    with LLM("onesec-mini") as llm:
        names = [gear.name for gear in llm.gears]
    assert main(["show", "onesec-mini", "--json"]) == 0
    assert [gear["name"] for gear in json.loads(capsys.readouterr().out)["gears"]] == names
    assert main(["show", "onesec-mini"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == "onesec-mini"
    assert "prompt tokens" not in shown  # they are a deadline's, and none was given
    assert main(["generate", "onesec-mini", "Hello", "--gear", "16"]) == 2
    assert f"this model has {', '.join(names)}." in capsys.readouterr().err
