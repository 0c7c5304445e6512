"""The document of the deadline benchmark holds the figures of the record that it names."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
try:
    from deadline_tables import DOCUMENTS, RECORDS, read, tables, written
finally:
    del sys.path[0]


@pytest.mark.parametrize("path", DOCUMENTS, ids=("en", "zh"))
def test_the_documents_hold_the_measured_figures(path) -> None:
    text = path.read_text()
    assert written(text, read()) == text
    assert all(record.name in text for record in RECORDS.values())


def test_a_missing_mark_is_told() -> None:
    with pytest.raises(ValueError, match="substring"):
        written("nothing", read())


def test_every_share_of_time_has_a_row() -> None:
    records = read()
    for name in ("suite", "stories"):
        shares = records[name]["virtual"]["grid"]
        assert tables(records)[f"{name} grid"].count("\n") == 2 + len(shares)
