"""The documents against the program: links lead somewhere, commands exist with their options, and
the Chinese README has the commands and figures of the English one."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from onesec.cli.group import group

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path for name in (".", "docs", "training", "examples/*") for path in ROOT.glob(f"{name}/*.md")
)
_BLOCK = re.compile(r"```[a-z]*\n(.*?)```", re.S)
_COMMAND = re.compile(r"^\$ (onesec [^\n]*)", re.M)
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


def _blocks(text: str) -> list[str]:
    return list(_BLOCK.findall(text))


def _commands() -> list[tuple[str, str]]:
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for block in _blocks(text):
            for line in _COMMAND.findall(block.replace("\\\n", " ")):
                found.append((str(document.relative_to(ROOT)), line))
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    missing = [link for link in _LINK.findall(text) if not (document.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize(("document", "line"), _commands())
def test_commands_exist_with_their_options(document: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    words = words[: words.index("|")] if "|" in words else words
    context = click.Context(group)
    command = group.get_command(context, words[0])
    assert command is not None, f"{document}: no command {words[0]!r}"
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    unknown = [w for w in words[1:] if w.startswith("--") and w.split("=")[0] not in known]
    assert not unknown, f"{document}: {line}"


@pytest.mark.parametrize("folder", [".", "examples/linear_regression"])
def test_the_chinese_readme_has_the_same_commands_and_figures(folder: str) -> None:
    english, chinese = (
        (ROOT / folder / name).read_text(encoding="utf-8")
        for name in ("README.md", "README.zh-CN.md")
    )
    assert [b for b in _blocks(chinese) if "$ " in b or "import" in b] == [
        b for b in _blocks(english) if "$ " in b or "import" in b
    ]
    figures = re.compile(r"\d+(?:\.\d+)?")
    tables = [
        sorted(figures.findall("".join(line for line in text.splitlines() if line.startswith("|"))))
        for text in (english, chinese)
    ]
    assert tables[0] == tables[1]
