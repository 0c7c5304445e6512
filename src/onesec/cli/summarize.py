"""`onesec summarize`: a text in the length that was asked for, within a deadline."""

from __future__ import annotations

from typing import Any

import click

from .application import percent, read_text, session
from .options import app_options
from .output import progress


@click.command("summarize")
@click.argument("file", default="-")
@click.option(
    "--length",
    default="one sentence",
    show_default=True,
    help='"3 sentences", "40 words", "一句话", "60字". 长度',
)
@app_options
def command(file: str, length: str, **options: Any) -> None:
    """Summarize FILE ("-" reads stdin). 摘要

    A text that is too long for the model is read in parts, as many as the deadline (default: 1s)
    allows; what was left out is said.

    \b
    onesec summarize report.txt --length "40 words" --deadline 2s
    """
    from onesec.apps import Summarize, Target

    target = Target.of(length)  # refuse nonsense before a model is loaded
    text = read_text(file)
    with session(options) as run:
        run.live = False  # the bar and the text would share the terminal
        app = Summarize(run.llm, deadline=run.deadline, **run.choices)
        with progress("reading 阅读中") as advance:
            run.start()
            made = app(text, target, on_progress=advance)
        remarks = []
        if made.left_out:
            parts = len(made.read) + len(made.left_out)
            remarks.append(
                f"[{len(made.read)} of {parts} parts were read, {percent(made.read_share)} of the "
                "text: a longer --deadline reads more. 只读了一部分，放宽截止时间可读更多]"
            )
        if not made.merged:
            remarks.append("[no time to bring the parts together. 各部分未合并]")
        if not made.kept:
            remarks.append(f"[longer than {length}. 超出要求的长度]")
        run.report(
            made,
            [made.reply],
            budget_ms=app.deadline.total_ms,
            remarks=remarks,
            calls=made.calls,
        )
