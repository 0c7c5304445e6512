"""The command line as a whole: version, help, exit codes, and what an import costs."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import click
import pytest

import onesec
from onesec.cli import group as group_module
from onesec.cli.group import VERBS, group
from onesec.cli.main import main
from onesec.cli.output import emit_json, note
from onesec.core.errors import (
    CorruptFile,
    DeadlineInfeasible,
    InvalidRequest,
    OutOfMemory,
    QueueFull,
)


def _fails_with(error: BaseException) -> click.Command:
    @click.command("boom")
    def command() -> None:
        raise error

    return command


@pytest.fixture
def run_error(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
    """Run a verb that raises, and give the exit code."""

    def run(error: BaseException) -> int:
        command = _fails_with(error)
        monkeypatch.setattr(group_module.LazyGroup, "get_command", lambda *_: command)
        return main(["boom"])

    return run


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"onesec {onesec.__version__}\n"
    project = Path(__file__).parents[2] / "pyproject.toml"
    assert tomllib.loads(project.read_text())["project"]["version"] == onesec.__version__


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_exists_and_explains_itself(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = group.get_command(click.Context(group), verb)
    assert command is not None
    assert command.name == verb
    assert main([verb, "--help"]) == 0
    assert "Usage: onesec" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidRequest("wrong."), 2),
        (CorruptFile("x.safetensors", "torn"), 3),
        (DeadlineInfeasible(budget_ms=1, feasible_ms=20), 4),
        (OutOfMemory("The model", need_bytes=2, have_bytes=1), 5),
        (MemoryError(), 5),
        (QueueFull(waiting=3, limit=3), 1),
        (OSError("disk on fire"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_one_line_and_a_code(
    error: BaseException,
    code: int,
    run_error: Callable[[BaseException], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_error(error) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1


def test_the_line_says_the_next_step(
    run_error: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
) -> None:
    run_error(DeadlineInfeasible(budget_ms=1, feasible_ms=20))
    line = capsys.readouterr().err
    assert "1 ms" in line
    assert "20 ms or more" in line


def _says(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    @click.command("says")
    def command() -> None:
        note("a note")
        emit_json({"text": text})

    monkeypatch.setattr(group_module.LazyGroup, "get_command", lambda *_: command)


def test_what_a_closed_stderr_would_say_goes_nowhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _says(monkeypatch, "hello")
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["says"]) == 0
    assert json.loads(capsys.readouterr().out) == {"text": "hello"}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "gbk", "utf-8"])
def test_json_is_whole_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "é 秒 😀"
    _says(monkeypatch, text)
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding))
    assert main(["says"]) == 0
    assert json.loads(out.getvalue().decode(encoding)) == {"text": text}


def test_a_locale_without_a_character_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="ascii"))
    main(["--version"])
    print("秒")
    sys.stdout.flush()
    assert out.getvalue().endswith(b"\\u79d2\n")


def test_a_full_disk_is_told_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _says(monkeypatch, "hello")
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["says"]) == 1
    assert capsys.readouterr().err.splitlines()[1:] == ["error: [Errno 28] No space left on device"]


def test_bugs_are_not_hidden(run_error: Callable[[BaseException], int]) -> None:
    with pytest.raises(ZeroDivisionError):
        run_error(ZeroDivisionError())


def test_unknown_verbs_and_options_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generat"]) == 2
    assert main(["doctor", "--frobnicate"]) == 2
    assert "frobnicate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import onesec", {"numpy", "click", "tokenizers", "rich", "jinja2"}),
        ("import onesec; onesec.SamplingParams, onesec.DeadlineInfeasible", {"numpy"}),
        ("from onesec.cli.main import main; main(['--version'])", {"numpy", "click", "rich"}),
        ("from onesec.cli.main import main; main(['--help'])", {"numpy", "rich", "jinja2"}),
        (
            "import onesec.cli.generate, onesec.llm, onesec.backend.cpu",
            {
                "huggingface_hub",
                "jinja2",
                "onesec.model.gguf",
                "onesec.prompt.template",
                "rich",
            },
        ),
    ],
)
def test_doors_import_only_what_they_need(statement: str, absent: set[str]) -> None:
    code = f"import sys; {statement}; sys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not absent & set(done.stderr.split())


def test_every_public_name_is_there() -> None:
    for name in onesec.__all__:
        assert getattr(onesec, name) is not None
    assert set(onesec.__all__) <= set(dir(onesec))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = onesec.nonsense
