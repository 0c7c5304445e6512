"""Files that are not there, or cannot be written: one line without an errno, and its code."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onesec._native")

from onesec.cli.main import main

MINI = "onesec-mini"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("explain --last --picture nope/x.svg", 2, "there is no folder nope"),
        ("explain nope.json", 2, "There is no file nope.json"),
        (f"evaluate {MINI} --suite mini --items nope/x", 2, "there is no folder nope"),
        ("support -k nope.csv q", 2, "There is no file nope.csv"),
        ("support --table nope.db:faq q", 2, "There is no file nope.db"),
        ("summarize nope.txt", 2, "There is no file nope.txt"),
        (f"pack {MINI} -o file/x", 2, "file is no folder"),
        (f"export {MINI} -o file/x.gguf", 1, "x.gguf cannot be written"),
        (f"export {MINI} -o file/x --type compressed-tensors", 2, "file is no folder"),
    ],
)
def test_it_is_told_what_cannot_be(
    words: str,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("file").write_text("")
    assert main(words.split()) == code
    told = capsys.readouterr().err
    assert said in told
    assert "Errno" not in told


@pytest.mark.parametrize("verb", ["pack", "export --type compressed-tensors"])
def test_a_full_disk_is_no_fault_of_the_model(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    assert main([*verb.split(), MINI, "-o", str(tmp_path / "out")]) == 1
    assert "out cannot be written (No space left on device)" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / "a.txt").write_text("A fee.")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    for verb in ("summarize", "explain"):
        assert main([verb, str(tmp_path / "a.txt")]) == 2
        said = capsys.readouterr().err
        assert "a.txt cannot be read (Permission denied)" in said
        assert "Errno" not in said


def test_curves_that_cannot_be_kept_are_told_before_they_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("onesec.machine.is_writable", lambda folder: False)
    assert main(["confidence", MINI, "--suite", "mini", "--save"]) == 1
    assert "cannot be written" in capsys.readouterr().err
