"""`onesec evaluate --suite` against fakes and on the shipped model: tables, JSON and exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doors import recite

from onesec import loading
from onesec.cli import suite as suite_module
from onesec.cli.main import main

PROMPT = "user: say 9|assistant: "


def item(number: int, **changes: Any) -> dict[str, Any]:
    found = {
        "id": str(number),
        "skill": "support" if number % 2 else "talk",
        "kind": "fact",
        "language": "en",
        "wording": "known",
        "messages": [{"role": "user", "content": "say 9"}],
        "metric": "right",
        "answer": "9",
        "required": ["9"],
        "forbidden": [],
        "exact": [],
        "grounded": False,
    }
    return found | changes


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[str]]:
    """The command line of a suite of four questions; every MODEL recites an answer to them."""

    def prepare(answer: str = "It is 9.", *, template: bool = True) -> list[str]:
        def load(*_: Any) -> Any:
            return recite(f"{PROMPT}{answer}", template=template)[0]

        monkeypatch.setattr(suite_module, "_loaded", load)
        file = tmp_path / "four.jsonl"
        items = [item(n, answer="8" if n == 3 else "9") for n in range(4)]
        items[3]["required"] = ["8"]
        file.write_text("".join(f"{json.dumps(one)}\n" for one in items))
        return ["evaluate", "m", "--suite", str(file)]

    return prepare


def test_scores_as_a_table(
    asked: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(asked()) == 0
    out = capsys.readouterr().out
    assert "gear 8" in out
    assert "50.0 [9-91]" in out  # support: one of two
    assert "75.0 [30-95]" in out  # all


def test_all_gears_as_json_and_every_reply_as_lines(
    asked: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = tmp_path / "replies.jsonl"
    assert main([*asked(), "--all-gears", "--json", "--items", str(lines), "--limit", "1"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["count"], report["deadline_ms"]) == (2, None)
    assert [gear["gear"] for gear in report["gears"]] == ["4", "8"]
    assert {d["gear"]: (d["lost"], d["gained"]) for d in report["differences"]} == {"4": (0, 0)}
    assert all((d["flip_rate"], d["p"]) == (0.0, 1.0) for d in report["differences"])
    replies = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [(r["gear"], r["id"], r["reply"]) for r in replies] == [
        (gear, number, "It is 9.") for gear in ("4", "8") for number in ("0", "1")
    ]


def test_flips_stand_in_the_table_of_differences(
    asked: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Gear 4 loses every answer that gear 8 has right: three of four questions."""
    line, run = asked(), suite_module._run

    def forgetful(loaded: Any, items: Any, gear: str, *rest: Any) -> Any:
        found = run(loaded, items, gear, *rest)
        return [replace(result, value=0.0) for result in found] if gear == "4" else found

    monkeypatch.setattr(suite_module, "_run", forgetful)
    assert main([*line, "--all-gears"]) == 0
    out = capsys.readouterr().out.partition("Beside the best gear")[2]
    rows = [words for words in map(str.split, out.splitlines()) if words[:3] == ["4", "-", "8"]]
    # lost, gained, flips %, p = 2 / 2^3
    assert rows[-1][-4:] == ["3", "0", "75.0", "0.25"]


def test_a_deadline_is_kept_or_counts_0(
    asked: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    def timing(deadline: str) -> dict[str, Any]:
        assert main([*asked(), "--deadline", deadline, "--json"]) == 0
        (gear,) = json.loads(capsys.readouterr().out)["gears"]
        assert gear["gear"] == "auto"
        return {"value": gear["scores"][-1]["value"], **gear["timing"][-1]}

    assert timing("10s")["refused_rate"] == 0.0
    refused = timing("1ms")
    assert (refused["value"], refused["refused_rate"], refused["ms_p50"]) == (0.0, 1.0, None)
    assert main([*asked(), "--deadline", "10s", "--all-gears"]) == 0
    out = capsys.readouterr().out
    assert "gear auto" in out
    assert "Within 10000 ms" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--skill", "cooking"], "no skill cooking; it has talk, support"),
        (["--gear", "5"], "no gear '5'"),
        (["--gear", "4", "--all-gears"], "--gear or --all-gears"),
        (["--deadline", "soon"], "soon"),
        (["--reference", "m"], "--reference: only with --text"),
    ],
)
def test_nonsense_is_exit_code_2(
    options: list[str],
    message: str,
    asked: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*asked(), *options]) == 2
    assert message in capsys.readouterr().err


def test_one_way_of_measuring_at_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Some text.")
    assert main(["evaluate", "m"]) == 2
    assert main(["evaluate", "m", "--text", str(text), "--suite", "mini"]) == 2
    capsys.readouterr()
    assert main(["evaluate", "m", "--text", str(text), "--limit", "3", "--items", "x"]) == 2
    assert "--limit, --items: only with --suite" in capsys.readouterr().err


def test_a_bad_line_is_exit_code_2_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(json.dumps(item(1)) + "\n{}\n")
    assert main(["evaluate", "m", "--suite", str(file)]) == 2
    assert f"{file}, line 2: " in capsys.readouterr().err


def test_chrf_without_the_extra_is_told_before_anything_is_loaded(
    asked: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked()
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    assert main(["evaluate", "m", "--suite", "mini", "--limit", "1"]) == 2
    error = capsys.readouterr().err
    assert "translate is scored by chrF" in error
    assert "onesec[evaluation]" in error
    assert "--skill" in error


def test_a_model_without_a_chat_template(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Source:
        """A checkpoint of which only the size is asked."""

        config = type("Config", (), {"context_length": 512})
        close = staticmethod(lambda: None)

    seen: dict[str, Any] = {}

    def load(model: str, **options: Any) -> Any:
        seen.update(options)
        return recite("x", template=False)[0]

    monkeypatch.setattr(loading, "find_model", lambda model: tmp_path)
    monkeypatch.setattr(loading, "open_source", lambda path: Source)
    monkeypatch.setattr(loading, "load_model", load)
    assert main(["evaluate", "m", "--suite", "mini", "--skill", "talk"]) == 2
    error = capsys.readouterr().err
    assert "no chat template" in error
    assert "--text" in error
    assert (seen["context"], seen["sequences"], seen["reference"]) == (512, 8, False)


def test_the_shipped_model_takes_the_shipped_suite(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onesec._native")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    line = ["evaluate", "onesec-mini", "--suite", "mini", "--limit", "2", "--threads", "1"]
    items = tmp_path / "items.jsonl"
    skills = ["--skill", "support", "--skill", "talk"]
    assert main([*line, *skills, "--all-gears", "--json", "--items", str(items)]) == 0
    report = json.loads(capsys.readouterr().out)
    gears = [gear["gear"] for gear in report["gears"]]
    assert report["count"] == 8
    assert {"4", "8"} <= set(gears)
    records = [json.loads(one) for one in items.read_text().splitlines()]
    assert len(records) == 8 * len(gears)
    assert all(record["reply"] for record in records)
    # With its own deadline every reply is found again, alone on the engine.
    again = tmp_path / "again.jsonl"
    options = ["--gear", "8", "--deadline", "10min", "--json", "--items", str(again)]
    assert main([*line, *skills, *options]) == 0
    alone = [json.loads(one) for one in again.read_text().splitlines()]
    best = [record for record in records if record["gear"] == "8"]
    assert [one["reply"] for one in alone] == [one["reply"] for one in best]
    assert all(one["met"] for one in alone)
