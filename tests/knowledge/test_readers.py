"""Readers: entries of every kind of file, and errors that name file and line."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onesec.core.errors import KnowledgeError
from onesec.knowledge import Knowledge
from onesec.knowledge.readers import PART_CHARS, read_entries, read_table


def read(name: str, data: str | bytes) -> list[tuple[str, str, str, int]]:
    content = data if isinstance(data, bytes) else data.encode()
    found = read_entries(name, Path(name), content)
    return [(one.entry.id, one.entry.title, one.entry.text, one.line) for one in found]


def test_markdown_sections_are_entries() -> None:
    text = "Preface.\n\n# Fees #\nFive.\n\n```\n# no\n```\n## 退货\n七天。\n# Fees\nSix.\n# -\n"
    assert read("faq.md", text) == [
        ("faq.md#faq", "faq", "Preface.", 1),
        ("faq.md#fees", "Fees", "Five.\n\n```\n# no\n```", 3),
        ("faq.md#退货", "退货", "七天。", 9),
        ("faq.md#fees-2", "Fees", "Six.", 11),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_front_matter_is_no_entry(end: str) -> None:
    text = "---|title: Fees|tags:|  - refund|- fee|# a note||---|Five.|".replace("|", end)
    assert read("a.md", text) == [("a.md#a", "a", "Five.", 9)]
    assert read("a.md", "---\n# Fees\n\n---\nFive.\n")[1][1] == "Fees"
    for text in ("---\nFive.\n---\n", "---\ntitle: Fees\n\nFive.\n", "Five.\n---\na: b\n---\n"):
        [(_, _, kept, line)] = read("a.md", text)
        assert (kept, line) == (text.strip(), 1)


def test_fences_end_as_they_began() -> None:
    text = "# A\n````md\n```py\n# no\n```\n# no\n````\n# B\n```x```\n"
    text += "# C\n~~~\n```\n# no\n~~~ \n# D\nd\n"
    assert [one[1] for one in read("a.md", text)] == ["A", "B", "C", "D"]


def test_only_marks_that_stand_apart_close_a_heading() -> None:
    text = "# C#\na\n## F# and C# ##\nb\n   ### In ###\nc\n    # code\n# ##\nd\n"
    assert [(one[1], one[2]) for one in read("a.md", text)] == [
        ("C#", "a"), ("F# and C#", "b"), ("In", "c\n    # code"), ("a", "d")
    ]  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_headings_above_a_line_of_marks_begin_sections(end: str) -> None:
    text = "Preface.||Fees|====|Five.||退货 |-----|七天。|---|Eight.|# Last|l|".replace("|", end)
    assert read("a.md", text) == [
        ("a.md#a", "a", "Preface.", 1),
        ("a.md#fees", "Fees", "Five.", 3),
        ("a.md#退货", "退货", "七天。\n---\nEight.", 7),
        ("a.md#last", "Last", "l", 12),
    ]


@given(st.lists(st.sampled_from(["A", "Be b.", "===", "---", "", "# C", "```", "- d", "    e"])))
def test_no_line_of_a_text_is_lost(lines: list[str]) -> None:
    """But for headings that nothing stands below."""
    found = "\n".join(f"{title}\n{body}" for _, title, body, _ in read("a.md", "\n".join(lines)))
    for line in ("Be b.", "- d"):
        assert found.count(line) == lines.count(line)


def test_headings_that_are_called_like_a_second_one() -> None:
    text = "# Step\na\n# Step\nb\n# Step 2\nc\n# Step\nd\n# Step 2\ne\n"
    assert [one[0].removeprefix("a.md#") for one in read("a.md", text)] == [
        "step", "step-2", "step-2-2", "step-3", "step-2-3"
    ]  # fmt: skip


def test_long_sections_are_parts_that_fit_a_prompt() -> None:
    found = read("a.md", "# Long\n" + "This is a sentence. " * 100)
    assert len(found) > 3
    assert [one[0] for one in found[:2]] == ["a.md#long", "a.md#long~2"]
    assert all(len(one[2]) <= PART_CHARS for one in found)
    assert " ".join(one[2] for one in found) == ("This is a sentence. " * 100).strip()


def test_csv_columns_have_many_names() -> None:
    assert read(
        "a.csv", '\ufeffQuestion,Answer\r\nWhen?,"At 9,\nevery day"\r\n,\r\nWhere?,Here\r\n'
    ) == [
        ("a.csv:2", "When?", "At 9,\nevery day", 2),
        ("a.csv:5", "Where?", "Here", 5),
    ]
    assert read("b.csv", "编号,问题,答案\n7,几点？,九点\n") == [("7", "几点？", "九点", 2)]


def test_json_lines() -> None:
    text = '{"id": 7, "question": "When?", "answer": "At 9", "more": [1]}\n\n{"text": "Alone"}\n'
    assert read("a.jsonl", text) == [("7", "When?", "At 9", 1), ("a.jsonl:3", "", "Alone", 3)]


@pytest.mark.parametrize(
    ("name", "data", "line", "what"),
    [
        ("a.csv", "id,text\n1,a\n2\n", 3, "1 fields"),
        ("a.csv", 'id,text\n1,"a\n', 2, "not CSV"),
        ("a.csv", 'id,text\n1,"a"b\n', 2, "not CSV"),
        ("a.csv", "x,y\n1,2\n", 1, "no column"),
        ("a.csv", "", 1, "empty"),
        ("a.csv", "id,text\n1,\n", 2, "empty"),
        ("a.csv", b"id,text\n1,\xb7\xc7\n", 2, "UTF-8"),
        ("a.csv", "id,text\n1,a\0b\n", 2, "NUL"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', 2, "not JSON"),
        ("a.jsonl", "[1]\n", 1, "object"),
        ("a.jsonl", '{"text": {"a": 1}}\n', 1, "must be text"),
        ("a.jsonl", '{"text": true}\n', 1, "must be text"),
        ("a.jsonl", '\n{"title": "a"}\n', 2, "no column"),
        ("a.jsonl", "[" * 100_000, 1, "not JSON"),
        ("a.jsonl", '{"text": "\\ud800"}\n', 1, "surrogate"),
        ("a.md", b"ok\n\xff\n", 2, "UTF-8"),
        ("a.pdf", "x", None, "no kind of file"),
    ],
)
def test_what_is_malformed_is_named_with_its_line(
    name: str, data: str | bytes, line: int | None, what: str
) -> None:
    with pytest.raises(KnowledgeError, match=what) as caught:
        read(name, data)
    assert caught.value.line == line
    assert caught.value.path == name
    assert line is None or f"{name}, line {line}" in str(caught.value)


@given(st.sampled_from(["a.csv", "a.jsonl", "a.md"]), st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_entries_or_a_typed_error(name: str, data: bytes) -> None:
    try:
        found = read(name, data)
    except KnowledgeError:
        return
    with Knowledge() as store:
        try:
            for identity, title, text, _ in found:
                store.put([type(ENTRY)(identity, text, title)])
        except KnowledgeError:
            return
    assert all(text.strip() for _, _, text, _ in found)


ENTRY = read_entries("a.md", Path("a.md"), b"x")[0].entry


def test_tables_of_a_database(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    database = sqlite3.connect(path)
    database.execute('CREATE TABLE "my ""faq" (key TEXT, q TEXT, reply TEXT)')
    database.execute('INSERT INTO "my ""faq" VALUES (?, ?, ?)', ("k1", "When?", "At 9"))
    database.execute("CREATE TABLE broken (text BLOB)")
    database.execute("INSERT INTO broken VALUES (x'00ff')")
    database.commit()
    database.close()
    [found] = read_table(path, 'my "faq', {"text": "reply"})
    assert (found.entry.id, found.entry.title, found.entry.text) == ("k1", "When?", "At 9")
    with pytest.raises(KnowledgeError, match="no column"):
        read_table(path, 'my "faq')
    with pytest.raises(KnowledgeError, match="no column 'heading' for the title"):
        read_table(path, 'my "faq', {"text": "reply", "title": "heading"})
    with pytest.raises(KnowledgeError, match="no table"):
        read_table(path, "x; DROP TABLE broken")
    with pytest.raises(KnowledgeError, match="must be text"):
        read_table(path, "broken")
    with pytest.raises(KnowledgeError, match="SQLite says"):
        read_table(Path(__file__), "faq")
    with Knowledge() as store:
        assert store.load(path, table='my "faq', columns={"text": "reply"}).added == 1
        assert store.load(path, table='my "faq', columns={"text": "reply"}).unchanged == 1
