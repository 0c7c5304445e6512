"""`onesec translate`: English and Chinese, whole texts or as they are spoken."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from dataclasses import asdict
from io import BufferedReader
from typing import TYPE_CHECKING, Any, cast

import click

from .application import CUT, Session, percent, read_text, refused, session
from .generate import summary
from .options import app_options
from .output import emit_json, is_terminal, note, shown

if TYPE_CHECKING:
    from onesec.apps import Language, Translate
    from onesec.core.errors import OneSecError
    from onesec.output import Output

_READ_BYTES = 4096
_OTHER = "neither English nor Chinese, so the translation is a guess. 不是中文或英文"


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
) -> int:
    """Translate TEXT ("-" reads stdin) between English and Chinese. 翻译

    A text that is too long for --deadline is translated from its beginning; where it ended is said.
    With --live --json prints a line for each sentence; where one had no time, the exit code is 1.

    \b
    onesec translate "Where is my order?"
    tail -f talk.txt | onesec translate --live --deadline 300ms
    """
    from onesec.apps import Translate
    from onesec.apps.text import other_script

    if live and (file is not None or text != "-"):
        raise click.UsageError("--live reads stdin only. --live 只读标准输入。")
    if file is not None and text != "-":
        raise click.UsageError("Give TEXT or --file, not both. TEXT 与 --file 只能选一个。")
    if glossary == "-" and (file or text) == "-":  # the text is "-" with --live too
        raise click.UsageError(
            "--glossary - leaves no standard input for the text: give TEXT or --file. "
            "请给出 TEXT 或 --file。"
        )
    terms = {} if glossary is None else read_glossary(glossary)
    whole = "" if live else read_text(file or "-") if file or text == "-" else text
    with session(options) as run:
        app = Translate(run.llm, to=to, glossary=terms, deadline=run.deadline, **run.choices)
        if live:
            return _translate_live(app, run)
        run.start()
        run.live = False  # the text is put together at the end, with its line ends
        made = app(whole)
        remarks = []
        missed = [sentence for sentence in made.sentences if not sentence.done]
        if missed:
            share = sum(one.end - one.start for one in missed) / len(whole)
            remarks.append(
                f"[{percent(share)} of the text was not translated, from character "
                f"{missed[0].start} on: a longer --deadline (or --context) does more. 未全部译完]"
            )
        others = sum(other_script(one.source) for one in made.sentences if one.reply is not None)
        if others:
            remarks.append(f"[{_OTHER}: {others} of {len(made.sentences)} sentences]")
        missing = dict.fromkeys(term for one in made.sentences for term in one.missing_terms)
        if missing:
            remarks.append(f"[glossary terms not used: {', '.join(missing)}. 未用术语]")
        replies = [sentence.reply for sentence in made.sentences if sentence.reply]
        run.report(made, replies, budget_ms=app.deadline.total_ms, remarks=remarks)
        return 0


def _translate_live(app: Translate, run: Session) -> int:
    """Sentence by sentence; what one had no time for does not end the stream. The exit code is 1
    where it was not a person who was told."""
    from onesec.apps.text import other_script

    failed = 0
    refusals: list[OneSecError] = []
    for sentence in app.live(_pieces(), on_refused=refusals.append):
        why = refusals.pop() if refusals else None
        failed += not sentence.done
        if run.as_json:  # a line each, so that a program can follow
            told = {} if why is None else refused(why)
            emit_json({**asdict(sentence), **told}, one_line=True)
            continue
        if sentence.done:
            print(shown(sentence.text) if run.live else sentence.text, flush=True)
        else:
            note(f"[no time: {sentence.source}]" if why is None else f"[{sentence.source}] {why}")
        reply = cast("Output | None", sentence.reply)
        if reply is not None and reply.ending == "cut":
            note(CUT)
        if other_script(sentence.source):
            note(f"[{_OTHER}]")
        if sentence.missing_terms:
            note(f"[glossary terms not used: {', '.join(sentence.missing_terms)}. 未用术语]")
        if run.show and reply is not None:
            note(summary(reply))
    return 1 if failed and not is_terminal(sys.stdin) else 0


def _pieces() -> Iterator[str]:
    """Stdin as it comes, whatever its line ends."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
    told = False
    stdin = cast(BufferedReader, sys.stdin.buffer)
    while True:
        data = stdin.read1(_READ_BYTES)
        piece = decoder.decode(data, final=not data)
        if not told and "\ufffd" in piece:
            told = True
            note("[stdin is not all UTF-8: \ufffd stands for what is not. 输入不全是 UTF-8]")
        yield piece
        if not data:
            return


def read_glossary(file: str) -> dict[str, str]:
    """Terms from lines "term = translation"; blank lines and lines after # are skipped."""
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
