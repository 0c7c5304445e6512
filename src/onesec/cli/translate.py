"""`onesec translate`: English and Chinese, whole texts or as they are spoken."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from dataclasses import asdict
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from .application import Session, read_text, session
from .options import app_options
from .output import note

if TYPE_CHECKING:
    from onesec.apps import Language, Translate

_READ_BYTES = 4096


@click.command("translate")
@click.argument("text", default="-")
@click.option("--file", help='Translate this file instead of TEXT ("-": stdin). 文件')
@click.option(
    "--to",
    type=click.Choice(["en", "zh"]),
    help="Target language (default: the one that the text is not in). 目标语言",
)
@click.option("--glossary", metavar="FILE", help='Terms, a line each: "cloud disk = 云盘". 术语表')
@click.option(
    "--live",
    is_flag=True,
    help="Read stdin as it comes: every sentence at once, each within --deadline. 实时",
)
@app_options
def command(
    text: str,
    file: str | None,
    to: Language | None,
    glossary: str | None,
    live: bool,
    **options: Any,
) -> None:
    """Translate TEXT ("-" reads stdin) between English and Chinese. 翻译

    \b
    onesec translate "Where is my order?"
    tail -f talk.txt | onesec translate --live --deadline 300ms
    """
    from onesec.apps import Translate

    if live and (file is not None or text != "-"):
        raise click.UsageError("--live reads stdin only. --live 只读标准输入。")
    terms = {} if glossary is None else read_glossary(glossary)
    whole = "" if live else read_text(file or "-") if file or text == "-" else text
    with session(options) as run:
        app = Translate(run.llm, to=to, glossary=terms, deadline=run.deadline, **run.gears)
        if live:
            _translate_live(app, run)
            return
        run.start()
        run.live = False  # the text is put together at the end, with its line ends
        made = app(whole)
        remarks = []
        if not made.complete:
            missed = sum(not sentence.done for sentence in made.sentences)
            remarks.append(
                f"[{missed} of {len(made.sentences)} sentences did not fit the time. 未全部译完]"
            )
        missing = dict.fromkeys(term for one in made.sentences for term in one.missing_terms)
        if missing:
            remarks.append(f"[glossary terms not used: {', '.join(missing)}. 未用术语]")
        replies = [sentence.reply for sentence in made.sentences if sentence.reply]
        run.report(made, replies, budget_ms=app.deadline.total_ms, remarks=remarks)


def _translate_live(app: Translate, run: Session) -> None:
    import json

    for sentence in app.live(_pieces()):
        if run.as_json:  # a line each, so that a program can follow
            print(json.dumps(asdict(sentence), ensure_ascii=False), flush=True)
        elif sentence.done:
            print(sentence.text, flush=True)
        else:
            note(f"[no time: {sentence.source}]")


def _pieces() -> Iterator[str]:
    """Stdin as it comes, whatever its line ends."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    stdin = cast(BufferedReader, sys.stdin.buffer)
    while data := stdin.read1(_READ_BYTES):
        yield decoder.decode(data)


def read_glossary(file: str) -> dict[str, str]:
    """Terms from lines "term = translation"; blank lines and lines after # are skipped."""
    path = Path(file)
    if not path.is_file():
        raise click.UsageError(f"There is no file {file}. 没有这个文件。")
    terms: dict[str, str] = {}
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        term, equals, meant = line.partition("=")
        if not (equals and term.strip() and meant.strip()):
            raise click.UsageError(
                f'{file}, line {number}: not "term = translation". 应为“术语 = 译文”。'
            )
        terms[term.strip()] = meant.strip()
    return terms
