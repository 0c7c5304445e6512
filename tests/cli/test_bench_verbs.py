"""`onesec bench serve`, `deadlines` and `speed`: what they take, and what they call things."""

from __future__ import annotations

import io
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from doors import recite
from test_suite_verb import item

from onesec.bench import deadlines
from onesec.cli import bench_deadlines, bench_speed
from onesec.cli.main import main


@pytest.fixture(autouse=True)
def _slices_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client asks the kernel for would stay with this process."""
    monkeypatch.setattr("onesec.core.slices.run_soon", lambda: True)


@pytest.mark.parametrize(
    "options",
    [
        *(["--rate", rate] for rate in ("0", "-1", "inf", "nan")),
        *(["--load", loads] for loads in ("0", "1,-1", "inf", "1,nan")),
        ["--seconds", "inf"],
    ],
)
def test_a_load_is_a_number_above_zero(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "serve", "nowhere:1", *options]) == 2
    assert options[0] in capsys.readouterr().err


def test_a_deadline_and_what_users_want_exclude_each_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["bench", "serve", "nowhere:1", "--slo", "chat", "--deadline", "1s"]
    assert main(words) == 2
    assert "--deadline and --slo exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--only", "virtual"], ["--limit", "3"], ["--prompts", "t"]])
def test_what_a_shape_would_not_heed_is_refused(
    option: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t").write_text("")
    arguments = ["bench", "deadlines", "--shape", "qwen2.5-0.5b", "--traffic", "t", *option]
    assert main(arguments) == 2
    assert option[0] in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["deadlines", "no/model"], ["serve", "nowhere:1"]])
def test_a_folder_that_cannot_be_is_told_first(
    verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["bench", *verb, "-o", str(tmp_path / "file" / "report")]) == 1
    said = capsys.readouterr().err
    assert "report cannot be written (Not a directory)" in said
    assert "Errno" not in said


def test_an_address_that_is_none_is_told_with_one_that_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert main(["bench", "serve", "notaurl"]) == 2
    said = capsys.readouterr().err
    assert "(Name or service not known)" in said
    assert "http://127.0.0.1:8000" in said


def test_a_recording_without_a_place_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for place, said in (("nowhere/it.json", "no folder nowhere"), (".", "is a folder")):
        assert main(["bench", "record", "--shape", "tiny", "-o", place]) == 2
        assert said in capsys.readouterr().err


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The command line of a suite of one kind, one question beyond those that teach lengths; MODEL
    is a folder."""
    monkeypatch.setattr(bench_deadlines, "_loaded", lambda *_: recite("It is 9.")[0])
    monkeypatch.setattr(deadlines, "real_time_record", lambda *_, **__: [])
    file = tmp_path / "some.jsonl"
    items = [item(2 * number) for number in range(deadlines.TAUGHT + 1)]
    file.write_text("".join(f"{json.dumps(one)}\n" for one in items))
    (tmp_path / "mine").mkdir()
    return ["bench", "deadlines", str(tmp_path / "mine"), "--suite", str(file), "--only", "real"]


def test_a_record_tells_of_no_folder(suite: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*suite, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model"] == "mine"
    assert told["real"][0]["subject"] == "mine, some.jsonl, one user"


def test_a_suite_that_only_teaches_is_named(
    suite: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(suite[suite.index("--suite") + 1])
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    assert main(suite) != 0
    said = capsys.readouterr().err
    assert f"some.jsonl has {deadlines.TAUGHT} questions" in said
    assert "None" not in said


def test_a_cold_start_is_one_of_the_engine_that_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[list[str]] = []

    class Process(io.BytesIO):
        returncode = 0

        def __init__(self, command: list[str], **_: Any) -> None:
            super().__init__()
            self.stdout = self
            started.append(command)

    monkeypatch.setattr(bench_speed.subprocess, "Popen", Process)
    engine = {"device": "cpu", "threads": 2, "kv_dtype": "f32"}
    bench_speed._cold_start_s("m", "one", "4", engine)
    [command] = started
    for name, value in engine.items():
        assert command[command.index(f"--{name.replace('_', '-')}") + 1] == str(value)
