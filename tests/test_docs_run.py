"""The documents for a first day, done: every command and every Python example runs as shown.

A model of the reader's own is played by the shipped one. How fast this machine is decides only
whether an answer comes or the refusal that the documents speak of.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("onesec._native")

import onesec
from onesec.cli.main import EXIT_DEADLINE

ROOT = Path(__file__).parents[1]
DOCUMENTS = ["first-answer.md", "applications.md"]
_BLOCK = re.compile(r"^```(python)?\n(.*?)^```", re.S | re.M)
# A build, a network, a file that is the reader's own, minutes of measuring: not for this test.
_ELSEWHERE = re.compile(r"make |\. \.venv|HuggingFaceTB/|\./my-model\.gguf|python bench/")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader has it, with `onesec` on the path and a model called my-model."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copytree(Path(onesec.__file__).parent / "assets" / "onesec-mini", folder / "my-model")
    command = folder / "bin" / "onesec"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m onesec "$@"\n')
    command.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def run(place: Path) -> Run:
    environment = {
        **os.environ,
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(onesec.__file__).parents[1]),
        "PYTHONUTF8": "1",
        "XDG_CACHE_HOME": str(place / "cache"),
        "HF_HUB_CACHE": str(place / "hub"),
    }

    def go(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, cwd=place, env=environment, capture_output=True, text=True, check=False
        )

    return go


def _runs_and_answers(block: str, run: Run) -> None:
    """A Python example runs, and what it prints begins with something to read; or it is refused."""
    done = run(sys.executable, "-c", block)
    refused = "DeadlineInfeasible" in done.stderr.strip().rpartition("\n")[2]
    assert done.returncode == 0 or refused, f"{block}\n{done.stderr}"
    if "print(answer.text" in block:
        assert refused or done.stdout[:1].strip(), f"{block}\nprinted {done.stdout!r}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_it_runs_as_shown(document: str, run: Run) -> None:
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    ran = 0
    for language, block in _BLOCK.findall(text):
        if language:
            _runs_and_answers(block, run)
            ran += 1
            continue
        for line, shown in re.findall(r"^\$ ([^\n]*)\n((?:[^$\n][^\n]*\n)*)", block, re.M):
            if _ELSEWHERE.search(line):
                continue
            done = run("bash", "-c", line)
            assert done.returncode in (0, EXIT_DEADLINE), f"{line}\n{done.stderr}"
            form = re.escape(shown.strip()).replace("…", ".*")
            assert re.search(form, done.stderr, re.S), f"{line}\n{done.stderr}"
            ran += 1
    assert ran > 8


@pytest.mark.parametrize(
    "document", ["README.md", "docs/choosing-a-deadline.md", "docs/explain.md"]
)
def test_python_for_the_shipped_model_answers(document: str, run: Run) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = [block for language, block in _BLOCK.findall(text) if language]
    whole = [block for block in blocks if 'LLM("onesec-mini")' in block]
    assert whole
    for block in whole:
        _runs_and_answers(block, run)
