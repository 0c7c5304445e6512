"""The document of the deadline benchmark holds the figures of the record that it names."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
try:
    from deadline_tables import DOCUMENTS, RECORDS, ROOT, SERVED, read, tables, written
finally:
    del sys.path[0]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_documents_hold_the_measured_figures(path) -> None:
    text = path.read_text()
    assert written(text, read()) == text


@pytest.mark.parametrize("path", DOCUMENTS[:2], ids=("en", "zh"))
def test_every_table_and_every_record_is_told_of(path) -> None:
    text = path.read_text()
    elsewhere = ("headline", "served")
    assert all(f"<!-- {name} -->" in text for name in tables(read()) if name not in elsewhere)
    assert all(record.name in text for record in RECORDS.values())


@pytest.mark.parametrize("path", DOCUMENTS[4:], ids=("en", "zh"))
def test_every_deadline_under_load_is_told_of(path) -> None:
    text = path.read_text()
    assert "<!-- served -->" in text
    assert all(record.name in text for record in SERVED.values())


@pytest.mark.parametrize("text", ["nothing", "<!-- other -->\n<!-- /other -->"])
def test_a_document_without_a_known_mark_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="marks"):
        written(text, read())


def test_every_share_of_time_has_a_row() -> None:
    records = read()
    for name in ("suite", "stories"):
        shares = records[name]["virtual"]["grid"]
        assert tables(records)[f"{name} grid"].count("\n") == 2 + len(shares)
