"""`onesec demo`: every application in both languages, in time or refused, as table and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from doors import recite
from rich.cells import cell_len

from onesec import llm as llm_module
from onesec.cli.demo import SCENES
from onesec.cli.main import main


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let every MODEL recite a text, whatever it is asked."""

    def prepare(*, template: bool = True) -> None:
        def load(model: str, **_: Any) -> object:
            return recite("Just so. " * 100, template=template)[0]

        monkeypatch.setattr(llm_module, "load_model", load)

    return prepare


def answers(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    assert main(["demo", "--json", *options]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["answers"]
    return found


def test_four_applications_answer_in_two_languages(
    loads: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    loads()
    told = answers(capsys, "--deadline", "10min")
    assert [(one["application"], one["language"]) for one in told] == [
        (application, language)
        for application in ("support", "answer", "translate", "summarize")
        for language in ("en", "zh")
    ]
    for one in told:
        assert one["answer"]
        assert one["met"] is True
        assert one["predicted_ms"] > 0.0
        assert set(one["gears"]) <= {"4", "8"}
        assert one["deadline_ms"] == 600_000.0


def test_each_has_a_deadline_of_its_own(
    loads: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    loads()
    assert [one["deadline_ms"] for one in answers(capsys)] == [s.deadline_ms for s in SCENES]


def test_a_refusal_is_a_row_with_its_offer(
    loads: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    loads()
    told = answers(capsys, "--deadline", "1ms")
    assert all(one["feasible_ms"] > 1.0 and "answer" not in one for one in told)
    assert main(["demo", "--deadline", "1ms"]) == 0
    out = capsys.readouterr().out
    assert out.count("refused:") == len(SCENES)
    assert out.endswith("\n")


def test_the_table_has_every_question(
    loads: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads()
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["demo", "--deadline", "10min"]) == 0
    out = capsys.readouterr().out
    assert "How much is the blue kettle?" in out
    assert "湖杯在哪里举行？" in out
    assert "600000" in out
    assert "LATE" not in out


@pytest.mark.parametrize("options", [["--deadline", "soon"], ["--threads", "0"]])
def test_nonsense_is_exit_code_2(options: list[str], loads: Callable[..., None]) -> None:
    loads()
    assert main(["demo", *options]) == 2


def test_a_model_that_cannot_chat_is_exit_code_2(
    loads: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    loads(template=False)
    assert main(["demo"]) == 2
    assert "no chat template" in capsys.readouterr().err


def test_the_shipped_model_plays_every_scene(
    capsys: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onesec._native")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with llm_module.LLM("onesec-mini") as llm:
        best = llm.gears[-1].name
    told = answers(capsys, "--deadline", "10min", "--threads", "1")
    assert len(told) == len(SCENES)
    assert all(one["answer"] and one["met"] for one in told)
    assert {gear for one in told for gear in one["gears"]} == {best}  # there is all the time


def test_a_model_that_cannot_chat_draws_no_table(
    loads: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    loads(template=False)
    assert main(["demo"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("columns", [40, 60, 80, 110])
def test_nothing_is_lost_and_no_figure_broken_on_a_narrow_terminal(
    columns: int,
    loads: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads()
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["demo", "--deadline", "10min"]) == 0
    title, _, out = capsys.readouterr().out.partition("\n")
    assert title == "onesec-mini: four applications, two languages"
    assert all(head in out for head in ("predicted", "deadline", "summarize zh"))
    assert out.count("600000") == len(SCENES)
    assert out.count("Just") >= len(SCENES)
    assert max(map(cell_len, out.splitlines())) <= columns
