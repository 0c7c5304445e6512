"""The doors of the four applications, against a model that recites."""

from __future__ import annotations

import io
import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doors import recite

from onesec import llm as llm_module
from onesec.apps.support import INSTRUCTION, UNKNOWN
from onesec.cli.main import main

SUPPORT_HEAD = f"system: {INSTRUCTION['en'].format(unknown=UNKNOWN['en'])}\n"


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """Let every MODEL recite a conversation; gives the options that it was loaded with."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def prepare(text: str) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def load(model: str, **options: Any) -> object:
            seen.update(options, model=model)
            return recite(text)[0]

        monkeypatch.setattr(llm_module, "load_model", load)
        return seen

    return prepare


@pytest.fixture
def faq(tmp_path: Path) -> Path:
    path = tmp_path / "faq.md"
    path.write_text("# Fee\nDelivery costs 5 dollars.\n", encoding="utf-8")
    return path


def stdin(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_support_answers_from_files_and_names_its_source(
    says: Callable[[str], dict[str, Any]], faq: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = f"{SUPPORT_HEAD}- Fee: Delivery costs 5 dollars.|user: Delivery?|assistant: "
    seen = says(prompt + "It costs 5 dollars.")
    assert main(["support", "-k", str(faq), "Delivery?", "--show"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "It costs 5 dollars.\n"
    assert "[from faq.md#fee]" in captured.err
    assert " of 1000 ms · 19 tokens · gear 8:19 · natural · in time]" in captured.err
    assert seen["model"] == "onesec-mini"


def test_support_takes_tables_and_records_and_writes_json(
    says: Callable[[str], dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = sqlite3.connect(tmp_path / "shop.db")
    database.execute("CREATE TABLE faq (id, question, answer)")
    database.execute("INSERT INTO faq VALUES ('f1', 'Fee', 'Delivery costs 5 dollars.')")
    database.commit()
    database.close()
    records = tmp_path / "records.json"
    records.write_text('{"order": "4821"}')
    says(
        f"{SUPPORT_HEAD}- Fee: Delivery costs 5 dollars.\nRecords:\n- order: 4821"
        "|user: Delivery?|assistant: Order 4821 costs 6 dollars."
    )
    options = ["--table", f"{tmp_path / 'shop.db'}:faq", "--records", str(records), "--json"]
    assert main(["support", "Delivery?", *options, "--deadline", "1min"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["records"] == [0]
    assert found["unsupported"] == ["6"]
    assert found["shown"] == ["f1"]
    assert (found["budget_ms"], found["met"]) == (60_000.0, True)


def test_support_talks_line_by_line_and_survives_an_error(
    says: Callable[[str], dict[str, Any]],
    faq: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    says(f"{SUPPORT_HEAD}- Fee: Delivery costs 5 dollars.|user: Delivery?|assistant: 5 dollars.")
    stdin(f"{'long ' * 500}\n\nDelivery?\n/reset\nDelivery?\n/quit\nnever\n", monkeypatch)
    assert main(["support", "-k", str(faq)]) == 1  # a script has to know that one failed
    captured = capsys.readouterr()
    assert captured.out == "5 dollars.\n5 dollars.\n"
    assert captured.err.count("error: ") == 1


def test_a_malformed_knowledge_file_is_one_line_with_its_place(
    says: Callable[[str], dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = says("")
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "fine"}\n{"text"\n')
    assert main(["support", "-k", str(bad), "x"]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert f"{bad}, line 2" in captured.err
    assert not seen  # before a model is loaded


def test_translate_prints_the_translation_alone(
    says: Callable[[str], dict[str, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    glossary = tmp_path / "terms.txt"
    glossary.write_text("# terms\nhello = 你好\n", encoding="utf-8")
    says("user: Translate into Chinese (hello = 你好): Hello!|assistant: 您好！")
    assert main(["translate", "Hello!", "--glossary", str(glossary)]) == 0
    captured = capsys.readouterr()
    assert captured.out == "您好！\n"
    assert "hello" in captured.err


@pytest.mark.parametrize("as_json", [False, True])
def test_translate_live_reads_stdin_as_it_comes(
    as_json: bool,
    says: Callable[[str], dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    says("user: Translate into Chinese: Hello!|assistant: 你好！")
    stdin("Hello!\nHello!", monkeypatch)
    assert main(["translate", "--live", *(["--json"] if as_json else [])]) == 0
    lines = capsys.readouterr().out.splitlines()
    texts = [json.loads(line)["text"] for line in lines] if as_json else lines
    assert texts == ["你好！", "你好！"]


def test_answer_shows_the_places(
    says: Callable[[str], dict[str, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = "The kettle costs 34 dollars."
    (tmp_path / "a.txt").write_text(text)
    says(
        "user: Answer from the text. If it does not say, reply: The text does not say.\n\n"
        f"{text}\n\nQuestion: How much is the kettle?|assistant: It costs 34 dollars."
    )
    assert main(["answer", "How much is the kettle?", str(tmp_path / "a.txt")]) == 0
    captured = capsys.readouterr()
    assert captured.out == "It costs 34 dollars.\n"
    assert captured.err == f"[0–{len(text)}] {text}\n"


def test_summarize_reads_stdin_and_says_what_is_wrong_with_it(
    says: Callable[[str], dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    says("user: Summarize in at most 3 words:\n\nA text.|assistant: Four words it has.")
    stdin("A text.\n", monkeypatch)
    assert main(["summarize", "--length", "3 words"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "Four words it has.\n"
    assert "longer than 3 words" in captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["support", "x"],
        ["support", "x", "--table", "nocolon"],
        ["translate", "x", "--live"],
        ["translate", "x", "--glossary", "nowhere.txt"],
        ["translate", "x", "--to", "fr"],
        ["answer", "x", "nowhere.txt"],
        ["summarize", "nowhere.txt"],
        ["summarize", __file__, "--length", "short"],
        ["summarize", __file__, "--deadline", "soon"],
        ["summarize", __file__, "--gear", "5"],
    ],
)
def test_nonsense_is_exit_code_2(
    arguments: list[str],
    says: Callable[[str], dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    says("")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err


@pytest.mark.parametrize("line", ["term", "= x", "x =", "a b c"])
def test_a_bad_glossary_line_is_named(
    line: str,
    says: Callable[[str], dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    says("")
    (tmp_path / "terms.txt").write_text(f"a = b\n{line}\n")
    assert main(["translate", "Hi.", "--glossary", str(tmp_path / "terms.txt")]) == 2
    assert "line 2" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["support", "translate", "answer", "summarize"])
def test_help_speaks_both_languages_and_shows_an_example(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"onesec {verb} " in text.split("Options:")[0].split("Usage:")[1].split("\n", 1)[1]
    assert any("\u4e00" <= character <= "\u9fff" for character in text)
