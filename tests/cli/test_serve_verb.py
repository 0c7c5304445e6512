"""`onesec serve` before anything is served: what is missing, and what is refused."""

from __future__ import annotations

import sys

import pytest

from onesec.cli.main import EXIT_USAGE, main


def test_without_its_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("onesec.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert main(["serve", "onesec-mini"]) == EXIT_USAGE
    assert 'pip install "onesec[serve]"' in capsys.readouterr().err
