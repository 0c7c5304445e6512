"""The journal after kills at any byte, and for other work."""

from __future__ import annotations

from pathlib import Path

import pytest

from onesec.compress.journal import Journal
from onesec.core.errors import ModelError


def test_values_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "journal"
    Journal(path, "a").put("one", {"x": [1, 2]})
    again = Journal(path, "a")
    assert again.get("one") == {"x": [1, 2]}
    assert again.get("two") is None
    again.finish()
    assert not path.exists()
    again.finish()


def test_other_work_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    Journal(path, "a").put("one", 1)
    assert Journal(path, "b").get("one") is None
    assert Journal(path, "a").get("one") is None


def test_other_work_that_goes_on_is_not_mistaken(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first, second = Journal(path, "a"), Journal(path, "b")
    second.put("one", "of b")
    first.put("one", "of a")
    first.put("two", "of a")
    again = Journal(path, "b")
    assert again.get("one") == "of b"
    assert again.get("two") is None


@pytest.mark.parametrize("cut", range(0, 70, 3))
def test_a_line_cut_off_is_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, "work")
    journal.put("one", 1)
    journal.put("two", "zwei 二")
    data = path.read_bytes()
    path.write_bytes(data[: max(0, len(data) - cut)])
    torn = Journal(path, "work")
    assert torn.get("one") in (1, None)
    assert torn.get("two") in ("zwei 二", None)
    torn.put("three", 3)
    whole = Journal(path, "work")
    assert whole.get("three") == 3
    assert whole.get("one") == torn.get("one")


def test_a_disk_that_refuses_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        Journal(tmp_path / "file" / "journal", "work")
    journal = Journal(tmp_path / "deep" / "journal", "work")
    journal.finish()
    journal.path.parent.rmdir()
    with pytest.raises(ModelError, match="cannot be written"):
        journal.put("one", 1)
