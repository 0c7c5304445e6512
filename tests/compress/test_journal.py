"""The journal after kills at any byte, for other work, and beside other runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from onesec.compress.journal import Journal
from onesec.core.errors import ModelError


def test_values_outlive_the_process(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "out"
    with Journal(output, "a") as journal:
        journal.put("one", {"x": [1, 2]})
    with Journal(output, "a") as again:
        assert again.get("one") == {"x": [1, 2]}
        assert again.get("two") is None
        again.finish()
        assert not list(output.parent.iterdir())
        again.finish()


def test_a_journal_of_nothing_leaves_no_file(tmp_path: Path) -> None:
    with Journal(tmp_path / "out", "a") as journal:
        assert journal.path.exists()
    assert not list(tmp_path.iterdir())
    with Journal(tmp_path / "out", "a") as first:
        first.finish()
        with Journal(tmp_path / "out", "a") as second:
            second.put("one", 1)
            first.finish()
    assert second.path.exists()


def test_other_work_begins_anew(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with Journal(output, "a") as journal:
        journal.put("one", 1)
    with Journal(output, "b") as other:
        assert other.get("one") is None
        assert list(tmp_path.iterdir()) == [other.path]  # what nobody will ask for is gone


def test_journals_of_other_outputs_stay(tmp_path: Path) -> None:
    outputs = [tmp_path / name for name in ("out", "out.journal-x", "out[x]", "outx")]
    for output in outputs:
        with Journal(output, "a") as journal:
            journal.put("one", output.name)
    with Journal(outputs[0], "b"), Journal(outputs[2], "b"):
        pass
    for output in (outputs[1], outputs[3]):
        with Journal(output, "a") as again:
            assert again.get("one") == output.name


def test_runs_beside_one_another_keep_their_own(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with Journal(output, "a") as first, Journal(output, "b") as second:
        second.put("one", "of b")
        first.put("one", "of a")
        first.finish()
        second.put("two", "of b")
    with Journal(output, "b") as again:
        assert again.get("one") == again.get("two") == "of b"


def test_the_same_work_twice_at_once_has_one_keeper(tmp_path: Path) -> None:
    output = tmp_path / "out"
    with Journal(output, "a") as first:
        first.put("one", 1)
        with Journal(output, "a") as second:
            assert second.get("one") == 1
            second.put("two", 2)
            assert second.get("two") == 2
            second.finish()
        first.put("three", 3)
    with Journal(output, "a") as again:
        assert (again.get("one"), again.get("two"), again.get("three")) == (1, None, 3)


@pytest.mark.parametrize("cut", range(0, 70, 3))
def test_a_line_cut_off_is_dropped(tmp_path: Path, cut: int) -> None:
    output = tmp_path / "out"
    with Journal(output, "work") as journal:
        journal.put("one", 1)
        journal.put("two", "zwei 二")
    data = journal.path.read_bytes()
    journal.path.write_bytes(data[: max(0, len(data) - cut)])
    with Journal(output, "work") as torn:
        assert torn.get("one") in (1, None)
        assert torn.get("two") in ("zwei 二", None)
        torn.put("three", 3)
    with Journal(output, "work") as whole:
        assert whole.get("three") == 3
        assert whole.get("one") == torn.get("one")
        assert whole.get("two") == torn.get("two")


def test_a_disk_that_refuses_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        Journal(tmp_path / "file" / "out", "work")
    with pytest.raises(ModelError, match="cannot be written"):
        Journal(tmp_path / ("x" * 250), "work")
