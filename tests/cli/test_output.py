"""Tables on narrow terminals: figures stay whole, whatever the width."""

from __future__ import annotations

import pytest

from onesec.cli.output import table

HEADS = ("gear", "perplexity", "bits/char", "KLD nats", "KLD p99", "same top", "what it is")
ROW = ("w8a16", "12.3±0.04", "0.91±0.002", "0.00324±8e-05", "0.0171±0.003", "98.26%±0.20%")
SAID = "all of what a matrix reads has sixteen bits"


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120, 200])
def test_no_figure_is_broken_or_cropped(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    title = "/a/folder/whose/name/is/longer/than/the/table/under/it/onesec-mini"
    table(title, HEADS, [(*ROW, SAID)], folded=HEADS[-1:])
    out = capsys.readouterr().out
    assert out.splitlines()[0] == title
    assert all(cell in out for cell in (*ROW, *SAID.split()))


def test_a_table_that_has_room_is_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table("", HEADS[:6], [ROW])
    narrow = capsys.readouterr().out.splitlines()
    assert narrow[0] == "w8a16"
    assert "perplexity 12.3±0.04 · bits/char 0.91±0.002" in narrow[1]
    monkeypatch.setenv("COLUMNS", "81")
    table("", HEADS[:6], [ROW])
    assert any(ROW[0] in line and ROW[-1] in line for line in capsys.readouterr().out.splitlines())
