"""The knowledge store: found again, changed only where the files did, never half-written."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onesec.apps import Entry
from onesec.core.errors import KnowledgeError
from onesec.knowledge import Knowledge, LoadReport
from onesec.knowledge import store as store_module

ENTRIES = [
    Entry("fee", "Delivery costs 5 dollars.", "Delivery fee"),
    Entry("refund", "Refunds take 14 days.", "Refunds"),
    Entry("退货", "七天内可以退货，运费自付。", "怎么退货"),
    Entry("伞", "我们卖雨伞和帽子", "商品"),
]


@pytest.fixture
def store(tmp_path: Path) -> Knowledge:
    knowledge = Knowledge(tmp_path / "shop.db")
    knowledge.put(ENTRIES)
    return knowledge


def test_threads_take_turns(tmp_path: Path) -> None:
    with Knowledge(tmp_path / "shop.db") as store, ThreadPoolExecutor(4) as pool:
        store.put(ENTRIES)
        puts = [
            pool.submit(store.put, [Entry(f"{i}", "We sell hats.")], source=f"{i}")
            for i in range(20)
        ]
        found = [pool.submit(store.search, "delivery") for _ in range(20)]
        assert {each.result()[0].id for each in found} == {"fee"}
        assert [each.result().added for each in puts] == [1] * 20
        assert len(store) == len(ENTRIES) + 20


def test_a_closed_store_says_so_and_not_that_it_is_damaged(store: Knowledge) -> None:
    store.close()
    store.close()
    for call in (lambda: store.search("fee"), lambda: store.put(ENTRIES), lambda: len(store)):
        with pytest.raises(KnowledgeError, match="closed") as caught:
            call()
        assert "remove" not in str(caught.value)


@pytest.mark.parametrize(
    ("question", "first"),
    [
        ("How much is delivery?", "fee"),
        ("When is my refund?", "refund"),
        ("可以退货吗？", "退货"),
        ("费", "退货"),
        ("伞", "伞"),
        ("子", "伞"),
        ("帽子", "伞"),
        ("DELIVERY", "fee"),
    ],
)
def test_what_a_question_speaks_of_comes_first(store: Knowledge, question: str, first: str) -> None:
    assert store.search(question)[0].id == first


@pytest.mark.parametrize(
    "question",
    ['"', "delivery AND", "title:delivery", "NEAR(delivery fee)", "delivery*", "^fee", "-fee", "(",
     "'; DROP TABLE entry; --", "delivery \x00 fee", "{title text}: fee", "fee OR", "*",
     "\u202efee"],
)  # fmt: skip
def test_query_syntax_is_plain_text(store: Knowledge, question: str) -> None:
    found = store.search(question)
    assert len(store) == len(ENTRIES)
    if "fee" in question or "delivery" in question:
        assert found[0].id == "fee"


@given(st.text(max_size=40))
@settings(deadline=None)
def test_no_question_breaks_the_search(question: str) -> None:
    with Knowledge() as knowledge:
        knowledge.put(ENTRIES)
        knowledge.search(question)


def test_every_chinese_word_of_one_or_two_characters_is_found(store: Knowledge) -> None:
    for entry in ENTRIES[2:]:
        text = entry.text.replace("，", "\n").replace("。", "")
        for run in text.split("\n"):
            words = [run[i : i + n] for n in (1, 2) for i in range(len(run) - n + 1)]
            for word in words:
                assert entry.id in {found.id for found in store.search(word)}, word


def test_it_is_there_after_closing(tmp_path: Path) -> None:
    with Knowledge(tmp_path / "a.db") as first:
        first.put(ENTRIES)
    with Knowledge(tmp_path / "a.db") as second:
        assert list(second) == ENTRIES
        assert second.get("fee") == ENTRIES[0]
        assert second.get("nothing") is None


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "faq"
    folder.mkdir()
    (folder / "a.md").write_text("# One\nFirst.\n# Two\nSecond.\n")
    (folder / "b.jsonl").write_text('{"id": "b1", "text": "Third."}\n')
    with Knowledge(tmp_path / "x.db") as store:
        assert store.load(folder) == LoadReport(added=3, files=2)
        assert store.load(folder) == LoadReport(unchanged=3, files=0)
        (folder / "a.md").write_text("# One\nFirst.\n# Two\nOther.\n# Four\nNew.\n")
        assert store.load(folder) == LoadReport(added=1, changed=1, unchanged=2, files=1)
        assert store.search("second") == []
        assert store.search("other")[0].id == "a.md#two"
        (folder / "b.jsonl").unlink()
        assert store.load(folder) == LoadReport(removed=1, unchanged=3, files=0)
        assert store.search("third") == []
        (folder / "a.md").write_text("# One\nFirst.\n# Two\nOther.\n# Four\nNew.\n\n")
        assert store.load(folder) == LoadReport(unchanged=3, files=1)


def test_sources_do_not_touch_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n1,apple\n")
    (tmp_path / "b.csv").write_text("id,text\n2,banana\n")
    with Knowledge() as store:
        store.load(tmp_path / "a.csv")
        store.load(tmp_path / "b.csv")
        (tmp_path / "a.csv").write_text("id,text\n1,cherry\n")
        assert store.load(tmp_path / "a.csv") == LoadReport(changed=1, files=1)
        assert store.search("banana")
        (tmp_path / "a.csv").write_text("id,text\n2,thief\n")
        with pytest.raises(KnowledgeError, match="taken") as caught:
            store.load(tmp_path / "a.csv")
        assert caught.value.line == 2
        assert store.search("cherry")
        assert not store.search("thief")


def test_entries_move_between_sources_in_either_direction(tmp_path: Path) -> None:
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    with Knowledge() as store:
        for texts in (
            ("id,text\n1,apple\n", "id,text\n2,banana\n3,cherry\n4,plum\n"),
            ("id,text\n1,apple\n2,banana\n3,cherry\n", "id,text\n4,plum\n"),
            ("id,text\n4,plum\n2,banana\n", "id,text\n1,apple\n3,cherry\n"),
        ):
            for file, text in zip((a, b), texts, strict=True):
                file.write_text(text)
            for file in (a, b):
                store.load(file)
            assert {entry.id: entry.text for entry in store} == {
                "1": "apple", "2": "banana", "3": "cherry", "4": "plum",
            }  # fmt: skip
            assert [store.load(file).files for file in (a, b)] == [0, 0]


def test_an_entry_copied_to_another_source_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text\n1,apple\n")
    (tmp_path / "b.csv").write_text("id,text\n2,banana\n")
    with Knowledge() as store:
        store.load(tmp_path / "a.csv")
        store.load(tmp_path / "b.csv")
        (tmp_path / "a.csv").write_text("id,text\n2,thief\n")
        (tmp_path / "b.csv").write_text("id,text\n2,banana\n3,cherry\n")
        store.load(tmp_path / "a.csv")
        with pytest.raises(KnowledgeError, match="taken"):
            store.load(tmp_path / "b.csv")


def test_a_folder_that_was_renamed_keeps_its_ids(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "faq.md").write_text("# Fee\nIt costs 5 dollars.\n")
    with Knowledge() as store:
        store.load(tmp_path / "old")
        (tmp_path / "old").rename(tmp_path / "new")
        assert store.load(tmp_path / "new").added == 1
        assert [entry.id for entry in store] == ["faq.md#fee"]


def test_a_malformed_file_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "faq"
    folder.mkdir()
    (folder / "a.md").write_text("# One\nFirst.\n")
    with Knowledge(tmp_path / "x.db") as store:
        store.load(folder)
        (folder / "a.md").write_text("# One\nChanged.\n")
        (folder / "z.jsonl").write_text('{"text": "fine"}\n{"text": \n')
        with pytest.raises(KnowledgeError) as caught:
            store.load(folder)
        assert (Path(caught.value.path).name, caught.value.line) == ("z.jsonl", 2)
        assert [entry.text for entry in store] == ["First."]


def test_an_id_that_occurs_twice_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"id": "x", "text": "1"}\n\n{"id": "x", "text": "2"}\n')
    with Knowledge() as store, pytest.raises(KnowledgeError, match="occurs twice") as caught:
        store.load(file)
    assert caught.value.line == 3


KILLED = """
import os, signal, sys
from onesec.knowledge import Knowledge
store = Knowledge(sys.argv[1])
left = int(sys.argv[3])
def tick():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
store._db.set_progress_handler(tick, 200)
print(store.load(sys.argv[2]))
"""


@pytest.mark.parametrize("ticks", [1, 5, 25, 60, 120, 10_000_000])
def test_killed_in_the_middle_it_holds_the_old_or_the_new(tmp_path: Path, ticks: int) -> None:
    source, path = tmp_path / "faq.jsonl", tmp_path / "shop.db"

    def write(version: str) -> set[tuple[str, str]]:
        rows = [{"id": f"e{n}", "text": f"{version} entry {n} 退货"} for n in range(300)]
        source.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
        return {(row["id"], row["text"]) for row in rows}

    old = write("old")
    with Knowledge(path) as store:
        store.load(source)
    new = write("new")
    script = [sys.executable, "-c", KILLED, str(path), str(source), str(ticks)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    killed = done.returncode == -signal.SIGKILL
    assert killed or "changed=300" in done.stdout, done.stderr
    with Knowledge(path) as store:
        held = {(entry.id, entry.text) for entry in store}
        assert held == (old if killed else new)
        word = "old" if killed else "new"
        assert len(store.search(f"{word}", 1000)) == 300  # the index fits the entries
        assert len(store.search("退货", 1000)) == 300
        store.load(source)
        assert {(entry.id, entry.text) for entry in store} == new
        assert store._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        store._db.execute("INSERT INTO term (term) VALUES ('integrity-check')")


def test_two_processes_see_each_others_entries(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with Knowledge(path) as one, Knowledge(path) as other:
        one.put(ENTRIES)
        assert other.search("refund")[0].id == "refund"
        one.put([])
        assert len(other) == 0


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"x" * 5000]
)
def test_a_file_that_is_no_store_is_a_typed_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.db"
    path.write_bytes(content)
    with pytest.raises(KnowledgeError, match=r"bad\.db"):
        Knowledge(path)
    assert path.read_bytes() == content


def test_a_strangers_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE entry (x)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(KnowledgeError, match="not a store"):
        Knowledge(path)
    assert path.read_bytes() == before


def test_a_damaged_store_is_a_typed_error(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with Knowledge(path) as store:
        store.put([Entry(f"e{n}", f"word{n} " * 50) for n in range(200)])
    data = bytearray(path.read_bytes())
    data[4096:] = b"\x5a" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(KnowledgeError), Knowledge(path) as store:
        store.search("word7")


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(KnowledgeError, match="nowhere"):
        Knowledge("/nowhere/at/all.db")
    with Knowledge() as store, pytest.raises(KnowledgeError, match="no such"):
        store.load("/nowhere/at/all")


def test_a_full_disk_is_told_as_one_and_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Fee\nDelivery costs 5 dollars.\n")
    with Knowledge(tmp_path / "store.db") as store:
        store.load(tmp_path / "a.md")
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages + 2}")
        words = " ".join(f"word{i}" for i in range(20_000))
        (tmp_path / "b.md").write_text(f"# Long\n{words}\n")
        with pytest.raises(KnowledgeError, match="full"):
            store.load(tmp_path / "b.md")
        store._db.execute("PRAGMA max_page_count = 1000000")
        assert store.load(tmp_path / "b.md").added > 1
        assert store.search("delivery")[0].id == "a.md#fee"


def test_names_and_texts_that_are_no_utf8_are_a_typed_error(tmp_path: Path) -> None:
    folder = tmp_path / "faq"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.md")).write_text("# Fee\nFive.\n")
    with Knowledge(tmp_path / "x.db") as store:
        with pytest.raises(KnowledgeError, match=r"caf\\udce9\.md#fee' is not UTF-8.*Rename"):
            store.load(folder)
        with pytest.raises(KnowledgeError, match="is not UTF-8"):
            store.put([Entry("a", "\ud800")])
        with pytest.raises(KnowledgeError, match="cannot be read"):
            store.load(folder / ("x" * 300 + ".md"))
        assert len(store) == 0


def test_a_store_that_another_process_makes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, marks = tmp_path / "x.db", store_module._MARKS

    def meanwhile() -> Iterator[str]:
        yield from marks
        monkeypatch.setattr(store_module, "_MARKS", marks)
        with Knowledge(path) as other:
            other.put(ENTRIES)

    monkeypatch.setattr(store_module, "_MARKS", meanwhile())
    with Knowledge(path) as store:
        assert len(store) == len(ENTRIES)
