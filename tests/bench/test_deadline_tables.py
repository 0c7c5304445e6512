"""The document of the deadline benchmark holds the figures of the record that it names."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
try:
    from deadline_tables import DOCUMENTS, RECORD, tables, written
finally:
    del sys.path[0]


@pytest.mark.parametrize("path", DOCUMENTS, ids=("en", "zh"))
def test_the_documents_hold_the_measured_figures(path) -> None:
    record = json.loads(RECORD.read_text())
    text = path.read_text()
    assert written(text, record) == text
    assert RECORD.name in text


def test_a_missing_mark_is_told() -> None:
    with pytest.raises(ValueError, match="substring"):
        written("nothing", json.loads(RECORD.read_text()))


def test_every_share_of_time_has_a_row() -> None:
    record = json.loads(RECORD.read_text())
    assert tables(record)["grid"].count("\n") == 2 + len(record["virtual"]["grid"])
