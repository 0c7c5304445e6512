"""`onesec support`: the support desk in the terminal, on your own files."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .application import Session, need_there, need_utf8, read_text, refused, session
from .options import app_options
from .output import emit_json, is_terminal, note

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
) -> int:
    """Answer QUESTION, or a whole conversation without one, from your own knowledge. 智能客服

    Files are indexed once; later only what changed is read again. Without QUESTION every line of
    standard input is one, each with --deadline for itself; --json then prints a line for each.

    \b
    onesec support -k faq.md "How long does delivery take?"
    """
    if not (sources or table or store or records):
        raise click.UsageError(
            "Say what it may know: -k FAQ.md, --table shop.db:faq or --records FILE. "
            "请用 -k 指定知识库。"
        )
    if records == "-" and question is None:
        raise click.UsageError(
            "--records - leaves no standard input for questions: give QUESTION. 请给出 QUESTION。"
        )
    given = [] if records is None else _read_records(records)
    with closing(_open(sources, table, store)) as knowledge:
        return _serve(question, knowledge, given, options)


def _serve(
    question: str | None, knowledge: Knowledge, given: list[Any], options: dict[str, Any]
) -> int:
    from onesec.apps import Support
    from onesec.core.errors import InvalidRequest

    if not given and not len(knowledge):
        raise InvalidRequest(
            "There is nothing to answer from: what was given holds no entries. 知识库是空的。",
            hint="An entry is a section of text, a row of a table, or a line of JSON.",
        )
    with session(options) as run:
        desk = Support(run.llm, knowledge, deadline=run.deadline, **run.choices)
        chat = desk.conversation(records=given)
        if question is None:
            return _talk(chat, run, desk.deadline.total_ms)
        run.start()
        answer = chat.ask(question, on_text=run.on_text)
        _report(run, answer, desk.deadline.total_ms)
        return 0


def _talk(chat: Any, run: Session, budget_ms: float | None) -> int:
    """Line by line; what one question did wrong does not end the conversation. The exit code is 1
    where it was not a person who was told."""
    from onesec.core.errors import OneSecError

    failed = 0
    if is_terminal(sys.stdin):
        import readline  # noqa: F401  (its import gives input() a history and editing)

        note(_HELP)
    while (line := _ask()) is not None and line not in ("/quit", "/exit"):
        if line == "/reset":
            chat.turns.clear()
            note("Forgotten. 已清空。")
        elif line:
            run.start()
            try:
                need_utf8(line)
                answer = chat.ask(line, on_text=run.on_text)
            except OneSecError as error:
                failed += 1
                note(f"error: {error}")
                if run.as_json:  # a line for every question
                    emit_json(refused(error), one_line=True)
                continue
            _report(run, answer, budget_ms, one_line=True)
    return 1 if failed and not is_terminal(sys.stdin) else 0


def _ask() -> str | None:
    try:
        return input("> " if is_terminal(sys.stdin) else "").strip()
    except EOFError:
        return None


def _report(
    run: Session, answer: SupportAnswer, budget_ms: float | None, *, one_line: bool = False
) -> None:
    remarks = []
    if not answer.shown:
        remarks.append("[nothing in its knowledge speaks of the question. 知识库中没有相关内容]")
    if answer.forgotten:
        remarks.append(f"[{answer.forgotten} earlier turns did not fit. 较早的对话已省略]")
    if answer.sources or answer.records:
        used = [*answer.sources, *(f"record {index + 1}" for index in answer.records)]
        remarks.append(f"[from {', '.join(used)}]")
    if answer.unsupported:
        numbers = ", ".join(answer.unsupported)
        remarks.append(f"[not in what it knows: {numbers}. 资料中没有这些数字]")
    run.report(answer, [answer.reply], budget_ms=budget_ms, remarks=remarks, one_line=one_line)


def _open(sources: tuple[str, ...], table: str | None, store: str | None) -> Knowledge:
    """The store, brought up to date with its sources."""
    from onesec.knowledge import Knowledge

    loads: list[tuple[str, str | None]] = [(source, None) for source in sources]
    if table is not None:
        database, colon, name = table.rpartition(":")
        if not colon or not database:
            raise click.UsageError(f"--table {table}: write DB:TABLE, as in shop.db:faq.")
        loads.append((database, name))
    for path, _ in loads:
        need_there(path)
    knowledge = _cached(loads) if store is None else Knowledge(store)
    try:
        for path, rows in loads:
            knowledge.load(path, table=rows)
    except BaseException:
        knowledge.close()
        raise
    return knowledge


def _cached(loads: Sequence[tuple[str, str | None]]) -> Knowledge:
    """The index of these paths, and tables in them, that is kept in the cache."""
    from onesec.core.errors import KnowledgeError
    from onesec.knowledge import Knowledge

    place = _place(loads)
    try:
        return Knowledge(place)
    except KnowledgeError as error:
        if "locked" in str(error):  # another process is filling it
            raise
        # Damaged, or another version's: everything in it is in the files too.
        for end in ("", "-wal", "-shm"):
            Path(place + end).unlink(missing_ok=True)
        return Knowledge(place)


def _place(loads: Sequence[tuple[str, str | None]]) -> str:
    """Where their index is kept; where the cache cannot be written, one that is not kept."""
    from onesec.machine import cache_folder

    name = "\n".join(f"{Path(path).resolve()}\0{rows or ''}" for path, rows in loads)
    folder = cache_folder() / "knowledge"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return str(folder / f"{blake2b(os.fsencode(name), digest_size=12).hexdigest()}.db")
    return ":memory:"


def _read_records(file: str) -> list[Any]:
    """A JSON list of objects or texts, or a single object."""
    text = read_text(file)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{file} is not JSON: {error}. 不是 JSON。") from None
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, (dict, str)) for one in values):
        raise click.UsageError(f"{file} must be a list of objects. 应为对象列表。")
    return values
