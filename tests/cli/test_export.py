"""`onesec export`: what it writes answers, and what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gguf
import pytest

from onesec.cli.main import main
from onesec.llm import LLM

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))
from export_models import prepared

pytest.importorskip("onesec._native")

PROMPT = "How do I reset my password?"


@pytest.fixture(scope="module")
def said() -> str:
    """What the shipped model answers in gear 8."""
    text = _answer("onesec-mini")
    assert text
    return text


def _answer(model: str) -> str:
    """To a conversation, so that the chat template has to come along too."""
    messages = [{"role": "user", "content": PROMPT}]
    with LLM(model) as llm:
        return llm.chat(messages, max_tokens=24, gear="8", temperature=0.0).text


def test_gguf_in_eight_bits_answers_alike(
    said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mini.gguf"
    assert main(["export", "onesec-mini", "-o", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bytes"] == path.stat().st_size
    assert "cutting texts" in told["lost"][0]
    assert _answer(str(path)) == said
    fields = gguf.GGUFReader(path).fields
    assert fields["general.name"].contents() == "onesec-mini"
    assert "im_start" in fields["tokenizer.chat_template"].contents()


@pytest.mark.parametrize("options", [["--bits", "8"], ["--bits", "8", "--asymmetric"]])
def test_a_folder_in_eight_bits_answers_alike(
    options: list[str], said: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ["-o", str(out), "--type", "compressed-tensors", *options]
    assert main(["export", "onesec-mini", *arguments]) == 0
    assert _answer(str(out)) == said
    assert {file.name for file in out.iterdir()} >= {"config.json", "tokenizer.json"}


def test_what_was_exported_is_exported_again(tmp_path: Path) -> None:
    """From GGUF to a folder: config.json and the tokenizer's files are made anew."""
    first, second = tmp_path / "a.gguf", tmp_path / "b"
    assert main(["export", "onesec-mini", "-o", str(first), "--type", "q4_k"]) == 0
    arguments = ["-o", str(second), "--type", "compressed-tensors"]
    assert main(["export", str(first), *arguments]) == 0
    assert _answer(str(second))


def test_the_size_is_that_of_all_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = prepared("llama-tied", tmp_path / "model")
    (model / "additional_chat_templates").mkdir()
    (model / "additional_chat_templates" / "tool_use.jinja").write_text("{{ messages }}" * 99)
    folder = ["--type", "compressed-tensors"]
    for verb in (["pack"], ["export", *folder]):
        out = tmp_path / verb[0]
        assert main([*verb, str(model), "-o", str(out), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)["bytes"]
        assert told == sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
        assert list(out.rglob("tool_use.jinja"))


def test_it_says_what_it_wrote_and_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.gguf"
    assert main(["export", "onesec-mini", "-o", str(path), "--type", "q4_0", "--gear", "4"]) == 0
    told = capsys.readouterr().err
    assert "Kept for OneSec only: its way of cutting texts" in told
    assert f"onesec generate {path}" in told
    other = tmp_path / "m.bin"
    assert main(["export", "onesec-mini", "-o", str(other), "--type", "q4_0", "--gear", "4"]) == 0
    assert "onesec opens it as NAME.gguf." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--type", "q8_0", "--bits", "4"], 2, "belong to --type compressed-tensors"),
        (["--asymmetric"], 2, "belong to --type compressed-tensors"),
        (["--type", "q3_k"], 2, "q3_k"),
        (["--gear", "9"], 2, "no gear '9'"),
        (["--gear", "16"], 2, "no gear '16'"),
    ],
)
def test_what_it_refuses(
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["export", "onesec-mini", "-o", str(tmp_path / "m.gguf"), *arguments]) == code
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_s_name_keeps_its_points(tmp_path: Path) -> None:
    model, path = tmp_path / "tiny-0.5B", tmp_path / "out.gguf"
    prepared("llama3", model)
    assert main(["export", f"{model}/.", "-o", str(path)]) == 0
    assert gguf.GGUFReader(path).fields["general.name"].contents() == "tiny-0.5B"
