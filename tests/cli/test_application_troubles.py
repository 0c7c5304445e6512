"""What goes wrong at the applications' doors is told: what, why, and the next step."""

from __future__ import annotations

import io
import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from doors import recite

from onesec import llm as llm_module
from onesec.cli.application import percent
from onesec.cli.main import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in an empty folder, with a model that always says the same; gives the exit
    code and both streams."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(llm_module, "load_model", lambda model, **_: recite("Just so. " * 100)[0])

    def go(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        code = main([*arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


READERS = [["answer", "why?", "{}"], ["summarize", "{}"], ["translate", "--file", "{}"]]


@pytest.mark.parametrize("arguments", READERS)
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gbk.txt", "送货需要三天。".encode("gb18030"), "not UTF-8 at byte 0 (0xCB)"),
        ("mark.txt", b"\xef\xbb\xbfA\xff", "not UTF-8 at byte 4 (0xFF)"),
        ("utf16.txt", "A fee.".encode("utf-16"), "iconv"),
        ("nul.txt", b"A fee.\0", "NUL at character 6"),
        ("folder", None, "is a folder"),
        ("nowhere", None, "There is no file nowhere"),
    ],
)
def test_what_is_no_text_is_told_and_not_read(
    arguments: list[str], name: str, content: bytes | None, said: str, run: Run
) -> None:
    Path("folder").mkdir()
    if content is not None:
        Path(name).write_bytes(content)
    code, out, err = run(*(one.format(name) for one in arguments))
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "m", "--text", "nul.txt"],
        ["compress", "m", "-o", "out", "--text", "nul.txt"],
        ["generate", "m", "-"],
    ],
)
def test_what_is_no_text_is_neither_measured_nor_asked(arguments: list[str], run: Run) -> None:
    Path("nul.txt").write_bytes(b"A fee.\0")
    code, _, error = run(*arguments, stdin=b"A fee.\0")
    assert code == 2
    assert "NUL at character 6" in error


def test_a_byte_order_mark_is_no_text(run: Run) -> None:
    code, out, _ = run("answer", "fee?", "--json", stdin=b"\xef\xbb\xbfA fee.")
    assert code == 0
    assert json.loads(out)["passages"][0]["text"] == "A fee."


def test_a_byte_order_mark_belongs_to_no_line(run: Run) -> None:
    Path("a.md").write_text("# Fee\nDelivery costs 5 dollars.\n")
    _, out, err = run("support", "-k", "a.md", "--json", stdin=b"\xef\xbb\xbf/reset\n")
    assert (out, err) == ("", "Forgotten. 已清空。\n")
    live = ("translate", "--live", "--json", "--deadline", "1min")
    _, out, _ = run(*live, stdin=b"\xef\xbb\xbfGood morning!\n")
    assert json.loads(out)["source"] == "Good morning!"


def test_text_and_file_are_not_both_taken(run: Run) -> None:
    Path("a.txt").write_text("A fee.")
    code, _, err = run("translate", "Hello.", "--file", "a.txt")
    assert code == 2
    assert "not both" in err


@pytest.mark.parametrize(
    ("name", "content"), [("a.md", ""), ("a.md", " \n"), ("a.csv", "question,answer\n")]
)
def test_knowledge_without_entries_is_told(name: str, content: str, run: Run) -> None:
    Path(name).write_text(content)
    code, out, err = run("support", "-k", name, "Fee?")
    assert (code, out) == (2, "")
    assert "no entries" in err


def test_a_question_that_nothing_speaks_of_is_told(run: Run) -> None:
    Path("a.md").write_text("# Fee\nDelivery costs 5 dollars.\n")
    assert "nothing in its knowledge" in run("support", "-k", "a.md", "Zebra?")[2]
    assert "nothing in its knowledge" not in run("support", "-k", "a.md", "Fee?")[2]


def test_a_conversation_as_json_is_a_line_for_every_question(run: Run) -> None:
    Path("a.md").write_text("# Fee\nDelivery costs 5 dollars.\n")
    lines = f"Fee?\n{'long ' * 900}\nFee?\n".encode()
    code, out, _ = run("support", "-k", "a.md", "--json", stdin=lines)
    told = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [one.get("code", "") for one in told] == ["", "context_length_exceeded", ""]
    assert told[0]["shown"] == ["a.md#fee"]


def test_records_that_are_not_there_are_told_as_that(run: Run) -> None:
    code, _, error = run("support", "--records", "nowhere.json", "Fee?")
    assert code == 2
    assert error.startswith("error: There is no file nowhere.json")


@pytest.mark.parametrize(
    ("arguments", "content"),
    [
        (["support", "--records", "-"], b'[{"order": "4821"}]'),
        (["translate", "--glossary", "-"], b"order = \xe8\xae\xa2\xe5\x8d\x95\n"),
    ],
)
def test_standard_input_is_one_thing_only(arguments: list[str], content: bytes, run: Run) -> None:
    code, _, err = run(*arguments, stdin=content)
    assert code == 2
    assert f"{arguments[1]} - leaves no standard input" in err
    assert run(*arguments, "My order?", stdin=content)[0] == 0


def test_knowledge_is_read_where_no_cache_can_be_kept(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a.md").write_text("# Fee\nDelivery costs 5 dollars.\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("a.md/cache").absolute()))
    code, out, _ = run("support", "-k", "a.md", "--json", "Fee?")
    assert code == 0
    assert json.loads(out)["shown"] == ["a.md#fee"]


def test_a_stray_byte_does_not_end_a_conversation(run: Run) -> None:
    Path("a.md").write_text("# Fee\nDelivery costs 5 dollars.\n")
    _, out, _ = run("support", "-k", "a.md", "--json", stdin=b"Fee?\n\xff\xfe\nFee?\n")
    told = [json.loads(line) for line in out.splitlines()]
    assert len(told) == 3
    assert told[0]["shown"] == told[2]["shown"] == ["a.md#fee"]
    assert "stdin is not UTF-8" in told[1]["error"]


def test_a_line_that_is_refused_has_the_offer(run: Run) -> None:
    Path("a.md").write_text("# Fee\nDelivery costs 5 dollars.\n")
    code, out, _ = run("support", "-k", "a.md", "--json", "--deadline", "1ms", stdin=b"Fee?\n")
    told = json.loads(out)
    assert (code, told["code"], told["which"]) == (1, "deadline_infeasible", "total")
    assert told["feasible_ms"] > 1.0


def test_live_tells_what_had_no_time_and_what_would_do(run: Run) -> None:
    words = ("translate", "--live", "--deadline", "1ms")
    code, out, err = run(*words, stdin=b"Hello!\nHello!\n")
    assert (code, out) == (1, "")
    assert (
        err.count("[Hello!] A budget of 1 ms cannot")
        == err.count("Ask again with a budget of")
        == 2
    )
    code, out, _ = run(*words, "--json", stdin=b"Hello!\n")
    told = json.loads(out)
    assert (code, told["done"], told["which"]) == (1, False, "total")
    assert told["feasible_ms"] > 1.0


def test_nothing_in_a_text_commands_the_terminal(run: Run) -> None:
    text = "\x1b]0;owned\x07Just so.\u202e The fee is 5.\n"
    code, out, err = run("answer", "Just so fee?", stdin=text.encode())
    assert code == 0
    assert not {"\x1b", "\x07", "\u202e"} & set(out + err)
    assert "Just so." in err


def test_live_shows_what_it_was_asked_to_show(run: Run) -> None:
    code, out, err = run(
        "translate", "--live", "--show", "--deadline", "1min", stdin="Hi! Где он?\n\xff".encode()
    )
    assert code == 0
    assert out.count("Just so.") >= 2
    assert err.count("in time]") == 3
    assert err.count("cut off before its end") == 3
    assert "neither English nor Chinese" in err


@pytest.mark.parametrize("heard", [b"Hi! \xff\xfe Ho!\n", b"Hi \xe9"])
def test_live_tells_bytes_that_are_no_text(heard: bytes, run: Run) -> None:
    code, _, err = run("translate", "--live", "--deadline", "1min", stdin=heard)
    assert code == 0
    assert "not all UTF-8" in err


def test_another_language_is_told(run: Run) -> None:
    _, _, err = run("translate", "Где мой заказ?", "--deadline", "1min")
    assert "neither English nor Chinese" in err
    _, _, err = run("translate", "Where is my order?", "--deadline", "1min")
    assert "neither" not in err


def test_what_was_not_translated_is_told_with_its_place(run: Run) -> None:
    text = "A sentence here. " * 2000
    code, _, err = run("translate", stdin=text.encode())
    assert code == 0
    assert "of the text was not translated, from character" in err


@pytest.mark.parametrize(
    ("share", "said"),
    [(1e-9, "0.1%"), (0.004, "0.4%"), (0.24, "24%"), (0.9951, "99.5%"), (1 - 1e-9, "99.9%")],
)
def test_a_share_is_neither_none_nor_all(share: float, said: str) -> None:
    assert percent(share) == said
    assert percent(1.0) == "100%"


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_a_closed_stream_is_no_crash(
    stream: str, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.txt").write_text("A fee.")
    monkeypatch.setattr(sys, stream, None)
    arguments = ["a.txt"] if stream == "stdout" else []
    assert main(["answer", "Fee?", *arguments]) == (1 if stream == "stdout" else 2)
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("arguments", [["translate", "--live"], ["support", "-k", "a.md"]])
def test_where_nothing_is_heard_nothing_is_said(
    arguments: list[str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a.md").write_text("# Fee\nDelivery costs 5 dollars.\n")
    monkeypatch.setattr(sys, "stdin", None)
    assert main(arguments) == 0


def test_a_command_that_is_none_is_answered_with_one_that_is(run: Run) -> None:
    code, _, err = run("translat", "Hi.")
    assert code == 2
    assert "Did you mean translate?" in err


@pytest.mark.parametrize(
    ("deadline", "said"), [("800", '"800ms"'), ("0ms", "more than 0"), ("-1", "not a duration")]
)
def test_a_deadline_that_is_none_is_told(deadline: str, said: str, run: Run) -> None:
    code, _, err = run("translate", "Hi.", "--deadline", deadline)
    assert code == 2
    assert said in err


def test_a_summary_of_nothing_is_told_with_what_can_be(run: Run) -> None:
    _, _, err = run("summarize", "--length", "0 words", stdin=b"A text.")
    assert "Choose 1 to 2000 words." in err


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("folder", "is a folder"),
        ("nowhere/a.db", "there is no folder"),
        ("text.db", "Choose another file"),
    ],
)
def test_a_store_that_is_none_is_told(store: str, said: str, run: Run) -> None:
    Path("a.md").write_text("# Fee\nDelivery costs 5 dollars.\n")
    Path("folder").mkdir()
    Path("text.db").write_text("What somebody still needs. " * 99)
    code, _, err = run("support", "-k", "a.md", "--store", store, "Fee?")
    assert code == 1
    assert said in err
    assert "delete" not in err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "question;answer\nfee;5\n", "commas"),
        ("a.csv", "x,y\n1,2\n", "内容"),
        ("a.jsonl", "[" * 100_000, "nested too deeply"),
        ("a.md", "送货".encode("gb18030"), "iconv"),
    ],
)
def test_malformed_knowledge_says_what_to_do(
    name: str, content: str | bytes, said: str, run: Run
) -> None:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    code, _, err = run("support", "-k", name, "Fee?")
    assert code == 1
    assert name in err
    assert said in err


def test_two_folders_with_the_same_ids_are_told_what_to_do(run: Run) -> None:
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(folder, "faq.md").write_text("# Fee\nDelivery costs 5 dollars.\n")
    code, _, err = run("support", "-k", "a", "-k", "b", "Fee?")
    assert code == 1
    assert "Rename" in err


def test_tables_of_the_same_name_in_two_folders_are_two(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shop in ("a", "b"):
        Path(shop).mkdir()
        with closing(sqlite3.connect(Path(shop, "shop.db"))) as database, database:
            database.execute("CREATE TABLE faq (id, question, answer)")
            database.execute("INSERT INTO faq VALUES (?, 'Fee', 'It costs 5 dollars.')", [shop])
    for shop in ("a", "../b"):
        monkeypatch.chdir(shop)
        _, out, _ = run("support", "--table", "shop.db:faq", "--json", "Fee?")
        assert json.loads(out)["shown"] == [shop[-1]]


@pytest.mark.parametrize("left", ["another version", "damage"])
def test_an_index_in_the_cache_is_made_anew_where_it_is_of_no_use(left: str, run: Run) -> None:
    Path("a.md").write_text("# Fee\nDelivery costs 5 dollars.\n")
    run("support", "-k", "a.md", "Fee?")
    [index] = Path("cache").rglob("knowledge/*.db")
    if left == "damage":
        index.write_bytes(b"\xff" * 5000)
    else:
        with closing(sqlite3.connect(index)) as database:
            database.execute("PRAGMA user_version = 999")
    for _ in range(2):
        code, out, err = run("support", "-k", "a.md", "--json", "Fee?")
        assert (code, err) == (0, "")
        assert json.loads(out)["shown"] == ["a.md#fee"]


@pytest.mark.parametrize("verb", ["generate", "chat"])
def test_an_answer_does_not_command_the_terminal(
    verb: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "\x1b]0;owned\x07Just so. "
    monkeypatch.setattr(llm_module, "load_model", lambda model, **_: recite(said * 9)[0])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    prompt = ("What?", "--raw") if verb == "generate" else ()
    code, out, err = run(verb, "m", *prompt, stdin=b"What?\n")
    assert code == 0
    assert "Just so." in out
    assert not {"\x1b", "\x07"} & set(out + err)
