"""Suites: the shipped one is whole, and files that lie are refused with the line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from onesec.apps.judge import is_right
from onesec.compress import suite
from onesec.compress.examine import max_tokens
from onesec.compress.suite import chosen, find_suite, read_suite
from onesec.core.errors import InvalidRequest

ITEM: dict[str, Any] = {
    "id": "1",
    "skill": "support",
    "kind": "fact",
    "language": "en",
    "wording": "new",
    "messages": [{"role": "user", "content": "When?"}],
    "metric": "right",
    "answer": "At 9.",
    "required": ["9"],
    "forbidden": [],
    "exact": [],
    "grounded": False,
}


def write(path: Path, *items: Any) -> Path:
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")
    return path


def test_the_shipped_suite_is_small_balanced_and_passes_its_own_keys() -> None:
    path = find_suite("mini")
    assert path.stat().st_size <= 250_000
    items = read_suite(path)
    cells: dict[tuple[str, str, str], int] = {}
    for item in items:
        cell = item["skill"], item["language"], item["wording"]
        cells[cell] = cells.get(cell, 0) + 1
        assert item["metric"] == "chrf" or is_right(item, item["answer"])
        # A token has two characters or more on the long run; a longer answer could not be given.
        assert len(item["answer"]) < 2 * max_tokens(item)
    assert len(cells) == 24
    assert set(cells.values()) == {100}


def test_what_is_chosen_is_the_first_of_each_cell() -> None:
    items = read_suite(find_suite("mini"))
    found = chosen(items, limit=2, skills=["talk", "answer"])
    assert [item["id"] for item in found] == [
        f"{skill}-{language}-{n}"
        for skill in ("answer", "talk")
        for language in ("en", "zh")
        for n in (0, 1)
    ]
    assert chosen(items, limit=None) == items
    with pytest.raises(InvalidRequest, match="no skill cooking; it has support, answer"):
        chosen(items, limit=1, skills=["cooking"])


def test_a_file_is_read_plain_and_compressed(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.jsonl", ITEM, ITEM | {"id": "2", "source": "kept out"})
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    found = read_suite(find_suite(str(plain)))
    assert [item["id"] for item in found] == ["1", "2"]
    assert read_suite(packed) == found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": 5}, r"line 2: Expected `str`, got `int` - at `\$.id`"),
        ({"metric": "bleu"}, "line 2: Invalid enum value 'bleu'"),
        ({"required": "9"}, "line 2: Expected `array`"),
        ({"messages": []}, "line 2: 0 messages"),
        ({"messages": [{"role": "tool", "content": "x"}, *ITEM["messages"]]}, "the role 'tool'"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "is of 'assistant'"),
        ({"required": ["9||10"]}, "an empty text"),
        ({"exact": [""]}, "an empty text"),
        ({"forbidden": ["x"] * 300}, "a list of 300 values"),
        ({"answer": ""}, "'answer' is empty"),
        ({"answer": "x" * 300_000}, "a text of 300000 characters"),
        ({"id": "1"}, "line 2: the id '1' stands in an earlier line too"),
    ],
)
def test_a_bad_line_is_told(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.jsonl", ITEM, {**ITEM, "id": "2", **changes})
    with pytest.raises(InvalidRequest, match=message) as error:
        read_suite(path)
    assert f"{path}, line 2: " in str(error.value)


@pytest.mark.parametrize("line", [b"{", b'{"id": "1"}', b"\xff", b"[" * 100_000, b"null"])
def test_what_is_no_item_is_told(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b"\n" + line)
    with pytest.raises(InvalidRequest, match="line 2: "):
        read_suite(path)


def test_files_that_are_too_large_broken_or_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "a.gz"
    packed.write_bytes(gzip.compress(bytes(1 << 16))[:-12])
    with pytest.raises(InvalidRequest, match="not a whole gzip file"):
        read_suite(packed)
    packed.write_bytes(gzip.compress(b"\n" * 5000))
    with pytest.raises(InvalidRequest, match="holds no items"):
        read_suite(packed)
    monkeypatch.setattr(suite, "MAX_BYTES", 4000)
    with pytest.raises(InvalidRequest, match="more than 4000 bytes"):
        read_suite(packed)
    monkeypatch.setattr(suite, "MAX_ITEMS", 1)
    with pytest.raises(InvalidRequest, match="more than 1 items"):
        read_suite(write(tmp_path / "b.jsonl", ITEM, ITEM | {"id": "2"}))


def test_a_name_that_means_nothing_offers_what_is_shipped() -> None:
    with pytest.raises(InvalidRequest, match=r"no suite nowhere.*mini"):
        find_suite("nowhere")
