"""The documents against the program: links lead somewhere, commands exist with their options, and
the Chinese ones have the code and the figures of the English ones."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import click
import pytest

from onesec.apps import answer, support, translate
from onesec.cli.group import group

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "training/*.md", "examples/*/*.md")
    for path in ROOT.glob(pattern)
)
PAIRS = [
    (ROOT / "README.md", ROOT / "README.zh-CN.md"),
    *(
        (path.with_name("README.md"), path)
        for path in sorted(ROOT.glob("examples/*/README.zh-CN.md"))
    ),
    *((path.parents[1] / path.name, path) for path in sorted(ROOT.glob("docs/zh/*.md"))),
]
_BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```", re.S | re.M)
_COMMAND = re.compile(r"^\$ (?:[^\n|]*\| )?(onesec [^\n]*)", re.M)
_INLINE = re.compile(r"`(onesec [a-z][^`\n]*)`")
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")
_FIGURE = re.compile(r"\d+(?:\.\d+)?")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _blocks(text: str) -> list[str]:
    return list(_BLOCK.findall(text))


def _commands() -> list[tuple[str, str]]:
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for block in _blocks(text):
            found += [
                (_name(document), one) for one in _COMMAND.findall(block.replace("\\\n", " "))
            ]
        if "docs" in document.parts:
            found += [(_name(document), one) for one in _INLINE.findall(_BLOCK.sub("", text))]
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
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
    if isinstance(command, click.Group):  # `bench` alone means its first command
        name = words[1] if words[1] in command.list_commands(context) else "speed"
        command = command.get_command(context, name)
        assert command is not None
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    unknown = [w for w in words[1:] if w.startswith("--") and w.split("=")[0] not in known]
    assert not unknown, f"{document}: {line}"


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=_name)
def test_the_chinese_document_has_the_same_code_and_figures(english: Path, chinese: Path) -> None:
    pair = [path.read_text(encoding="utf-8") for path in (english, chinese)]
    assert _blocks(pair[0]) == _blocks(pair[1])
    assert sorted(_FIGURE.findall(pair[0])) == sorted(_FIGURE.findall(pair[1]))


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=_name)
def test_pairs_name_each_other(english: Path, chinese: Path) -> None:
    for one, other in ((english, chinese), (chinese, english)):
        links = [one.parent / link for link in _LINK.findall(one.read_text(encoding="utf-8"))]
        assert other in [link.resolve() for link in links]


def test_the_limits_of_the_applications_are_the_programs() -> None:
    text = (ROOT / "docs/applications.md").read_text(encoding="utf-8")
    assert f"{support.NOTES} entries of {support._NOTE_CHARS} characters" in text
    assert f"the best, {answer._MOST_PASSAGES} at most" in text
    assert f"up to {translate._MOST_TERMS} terms" in text
    assert f"longer than {translate._LONGEST} characters" in text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_a_gpu_gave_is_what_the_results_say(language: str) -> None:
    spec = importlib.util.spec_from_file_location("table", ROOT / "bench" / "gpu" / "table.py")
    assert spec is not None
    assert spec.loader is not None
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    report = table.together(sorted((ROOT / "bench" / "results").glob("*-h200-*.json")))
    text = table.DOCUMENTS[language].read_text(encoding="utf-8")
    assert table.BEGIN + table.measured(report, language) + table.END in text
