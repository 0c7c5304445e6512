"""`onesec answer`: a question about a text, answered with the places that bear the answer out."""

from __future__ import annotations

from typing import Any

import click

from .application import percent, read_text, session
from .options import app_options

_SHOWN_CHARS = 160  # of a cited sentence


@click.command("answer")
@click.argument("question")
@click.argument("file", default="-")
@app_options
def command(question: str, file: str, **options: Any) -> None:
    """Answer QUESTION from FILE ("-" reads stdin). 文档问答

    The places of the text that bear the answer out are shown with their character offsets.

    \b
    onesec answer "How long is the warranty?" manual.md --deadline 800ms
    """
    from onesec.apps import Answer

    text = read_text(file)
    with session(options) as run:
        app = Answer(run.llm, deadline=run.deadline, **run.choices)
        run.start()
        found = app(question, text, on_text=run.on_text)
        remarks = []
        for place in found.citations:
            quoted = " ".join(place.text.split())
            shown = quoted if len(quoted) <= _SHOWN_CHARS else quoted[:_SHOWN_CHARS] + "…"
            remarks.append(f"[{place.start}–{place.end}] {shown}")
        if found.unsupported:
            numbers = ", ".join(found.unsupported)
            remarks.append(f"[not in the text: {numbers}. 原文没有这些数字]")
        if found.read_chars < len(text.rstrip()):
            share = percent(found.read_chars / len(text))
            remarks.append(f"[only the first {share} were searched in the time. 只检索了一部分]")
        run.report(found, [found.reply], budget_ms=app.deadline.total_ms, remarks=remarks)
