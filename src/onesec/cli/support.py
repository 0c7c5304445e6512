"""`onesec support`: the support desk in the terminal, on your own files."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .application import Session, read_text, session
from .options import app_options
from .output import note

if TYPE_CHECKING:
    from onesec.apps import SupportAnswer
    from onesec.knowledge import Knowledge

_HELP = "/reset forgets the conversation · /quit    /reset 清空对话 · /quit 退出"


@click.command("support")
@click.argument("question", required=False)
@click.option(
    "--knowledge",
    "-k",
    "sources",
    multiple=True,
    metavar="PATH",
    help="What it may know: a folder, or a .md, .txt, .csv or .jsonl file; repeatable. 知识库",
)
@click.option("--table", metavar="DB:TABLE", help="Also a table of a SQLite database. 数据表")
@click.option("--store", metavar="FILE", help="Keep the index here (default: in the cache). 索引")
@click.option("--records", metavar="FILE", help="JSON list of this customer's records. 客户记录")
@app_options
def command(
    question: str | None,
    sources: tuple[str, ...],
    table: str | None,
    store: str | None,
    records: str | None,
    **options: Any,
) -> None:
    """Answer QUESTION, or a whole conversation without one, from your own knowledge. 智能客服

    Files are indexed once; later only what changed is read again.

    \b
    onesec support -k faq.md "How long does delivery take?"
    """
    from onesec.apps import Support

    if not (sources or table or store or records):
        raise click.UsageError(
            "Say what it may know: -k FAQ.md, --table shop.db:faq or --records FILE. "
            "请用 -k 指定知识库。"
        )
    given = [] if records is None else _read_records(records)
    with closing(_open(sources, table, store)) as knowledge, session(options) as run:
        desk = Support(run.llm, knowledge, deadline=run.deadline, **run.gears)
        chat = desk.conversation(records=given)
        if question is not None:
            run.start()
            answer = chat.ask(question, on_text=run.on_text)
            _report(run, answer, desk.deadline.total_ms)
            return
        _talk(chat, run, desk.deadline.total_ms)


def _talk(chat: Any, run: Session, budget_ms: float | None) -> None:
    """Line by line; what one question did wrong does not end the conversation."""
    from onesec.core.errors import OneSecError

    if sys.stdin.isatty():
        import readline  # noqa: F401  (its import gives input() a history and editing)

        note(_HELP)
    while (line := _ask()) is not None and line not in ("/quit", "/exit"):
        if line == "/reset":
            chat.turns.clear()
            note("Forgotten. 已清空。")
        elif line:
            run.start()
            try:
                answer = chat.ask(line, on_text=run.on_text)
            except OneSecError as error:
                note(f"error: {error}")
                continue
            _report(run, answer, budget_ms)


def _ask() -> str | None:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None


def _report(run: Session, answer: SupportAnswer, budget_ms: float | None) -> None:
    remarks = []
    if answer.sources or answer.records:
        used = [*answer.sources, *(f"record {index + 1}" for index in answer.records)]
        remarks.append(f"[from {', '.join(used)}]")
    if answer.unsupported:
        numbers = ", ".join(answer.unsupported)
        remarks.append(f"[not in what it knows: {numbers}. 资料中没有这些数字]")
    run.report(answer, [answer.reply], budget_ms=budget_ms, remarks=remarks)


def _open(sources: tuple[str, ...], table: str | None, store: str | None) -> Knowledge:
    """The store, brought up to date with its sources."""
    from onesec.knowledge import Knowledge
    from onesec.loading import cache_folder

    if store is None:
        name = "\n".join([*(str(Path(source).resolve()) for source in sources), table or ""])
        folder = cache_folder() / "knowledge"
        folder.mkdir(parents=True, exist_ok=True)
        store = str(folder / f"{blake2b(name.encode(), digest_size=12).hexdigest()}.db")
    knowledge = Knowledge(store)
    try:
        for source in sources:
            knowledge.load(source)
        if table is not None:
            database, colon, name = table.rpartition(":")
            if not colon or not database:
                raise click.UsageError(f"--table {table}: write DB:TABLE, as in shop.db:faq.")
            knowledge.load(database, table=name)
    except BaseException:
        knowledge.close()
        raise
    return knowledge


def _read_records(file: str) -> list[Any]:
    """A JSON list of objects or texts, or a single object."""
    try:
        value = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{file} is not JSON: {error}. 不是 JSON。") from None
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, (dict, str)) for one in values):
        raise click.UsageError(f"{file} must be a list of objects. 应为对象列表。")
    return values
