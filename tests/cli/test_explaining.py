"""The options that explain an answer, through the command line and on the shipped model."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onesec._native")

from onesec.cli.explain import keep_last, last_trace
from onesec.cli.main import EXIT_DEADLINE, main
from onesec.cli.tint import tinted
from onesec.compress.suite import find_suite, read_suite
from onesec.core.errors import InvalidRequest
from onesec.loading import LoadedModel

KETTLE = ["onesec-mini", "What does the blue kettle cost?", "--threads", "1", "--system"]
NOTES = "Blue kettle: 34 dollars. Red lamp: 12 dollars. We close at 6."


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def test_confidence_stands_beside_the_pieces(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", *KETTLE, NOTES, "--confidence", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert "".join(answer["pieces"]) == answer["text"]
    assert len(answer["pieces"]) == len(answer["confidence"]) == len(answer["tokens"])
    assert all(0.0 < value < 1.0 for value in answer["confidence"])
    assert answer["calibrated"] is True
    assert answer["trace"]["confidence"] == [round(value, 3) for value in answer["confidence"]]
    assert main(["explain", "--last"]) == 0
    assert "Sure of its tokens" in capsys.readouterr().out
    assert main(["generate", *KETTLE, NOTES, "--confidence"]) == 0
    assert capsys.readouterr().out == answer["text"] + "\n"  # nobody sits at a terminal: no marks


def test_a_kept_trace_is_its_owners_alone() -> None:
    keep_last({"kept": True})
    assert json.loads(last_trace().read_text()) == {"kept": True}
    assert last_trace().stat().st_mode & 0o077 == 0


def test_a_cache_that_cannot_be_written_is_told_with_the_other_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert main(["explain", "--last"]) == 2
    said = capsys.readouterr().err
    assert "is not writable" in said
    assert "--json | onesec explain -" in said


def test_a_trace_comes_through_a_pipe_of_any_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", *KETTLE, NOTES, "--json"]) == 0
    answer = capsys.readouterr().out
    reading, writing = os.pipe()
    with open(reading) as pipe:
        with open(writing, "w") as answered:
            json.dump(json.loads(answer)["trace"], answered)
        assert main(["explain", f"/dev/fd/{pipe.fileno()}"]) == 0
    assert "Planned at" in capsys.readouterr().out


def test_a_stopped_answers_pieces_are_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", *KETTLE, NOTES, "--confidence", "--json", "--stop", "ettle"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert "ettle" not in answer["text"]
    assert "".join(answer["pieces"]) == answer["text"]
    assert len(answer["pieces"]) == len(answer["tokens"])


def test_marks_and_what_may_not_be_marked() -> None:
    pieces, sure = ["ok", " so", "\x1b[2J no"], [0.9, 0.7, 0.2]
    assert tinted(pieces, sure, color=True) == "ok\x1b[33m so\x1b[0m\x1b[4;31m[2J no\x1b[0m"
    assert tinted(pieces, sure, color=False) == "ok so\x1b[4m[2J no\x1b[0m"


def test_the_sentence_that_carried_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", *KETTLE, NOTES, "--attribute", "60s", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["attribution"]
    assert (found["examined"], found["sentences"], found["complete"]) == (3, 3, True)
    first = max(found["parts"], key=lambda part: part["score"])
    assert first["text"] == "Blue kettle: 34 dollars."
    assert main(["generate", *KETTLE, NOTES, "--attribute"]) == 0
    captured = capsys.readouterr()
    assert "Blue kettle: 34 dollars." in captured.out
    assert "leave-one-out log-likelihood" in captured.err
    assert main(["generate", *KETTLE, NOTES, "--attribute", "soon"]) == 2


def test_a_calibration_is_measured_drawn_and_kept_only_where_it_may(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [i for i in read_suite(find_suite("mini")) if i["skill"] == "answer"][:90]
    suite, picture = tmp_path / "suite.jsonl", tmp_path / "it.svg"
    suite.write_text("\n".join(json.dumps(item) for item in items))
    words = ["confidence", "onesec-mini", "--suite", str(suite), "--gear", "4", "--threads", "1"]
    assert main([*words, "--picture", str(picture), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)["gears"]["4"]
    assert record["tokens"] > 200
    assert picture.read_text().startswith("<svg")
    checkpoint = Path(__file__).parents[2] / "training" / "onesec-mini"
    assert main(["confidence", str(checkpoint), "--suite", "mini", "--save"]) == 2
    assert "onesec pack" in capsys.readouterr().err
    assert main(["confidence", "onesec-mini"]) == 2
    nowhere = str(tmp_path / "nowhere" / "it.svg")
    assert main([*words, "--picture", nowhere]) == 2  # before anything is measured
    assert "there is no folder" in capsys.readouterr().err


def test_an_answer_is_told_also_where_there_is_no_time_to_attribute_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["generate", *KETTLE, NOTES, "--attribute", "0.01ms", "--json"]) == EXIT_DEADLINE
    captured = capsys.readouterr()
    assert "34" in json.loads(captured.out)["text"]
    assert "error:" in captured.err


def test_a_calibration_asks_templates_without_a_system_role(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    items = read_suite(find_suite("mini"))
    items = [i for i in items if i["messages"][0]["role"] == "system"][:60]
    suite = tmp_path / "suite.jsonl"
    suite.write_text("\n".join(json.dumps(item) for item in items))
    render = LoadedModel.render

    def without(self: LoadedModel, messages: Any, **options: Any) -> Any:
        if messages[0]["role"] == "system":
            raise InvalidRequest("System role not supported")
        return render(self, messages, **options)

    monkeypatch.setattr(LoadedModel, "render", without)
    words = ["confidence", "onesec-mini", "--suite", str(suite), "--gear", "4", "--threads", "1"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gears"]["4"]["tokens"] > 50
