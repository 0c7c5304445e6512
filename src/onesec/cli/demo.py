"""`onesec demo`: the four applications in both languages, each within a deadline.

One table, or lines where the terminal is narrow.

It uses `onesec.apps` as anybody would; it must not know more of them than their public names.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from .application import need_chat_template
from .generate import load_llm
from .options import deadline_option, json_option, model_option, threads_option
from .output import emit_json, growing_table

if TYPE_CHECKING:
    from onesec.llm import LLM

_SHOWN_CELLS = 36  # of a question; a Chinese character takes two
_TABLE_CELLS = 110  # fewer columns of the terminal leave too little for question and answer
# Two lines, so that most is left for question and answer.
_HEADS = (
    "application",
    "question",
    "answer",
    "predicted\nms",
    "took\nms",
    "deadline\nms",
    "gear",
)


@dataclass(frozen=True, slots=True)
class Scene:
    """One call of one application: `ask` makes it, within so many milliseconds."""

    application: str
    language: str
    question: str
    deadline_ms: float
    ask: Callable[[LLM, Scene, float], Any]
    given: str = ""  # the text that it is about; the shop's notes, a line each
    record: str = ""


def _support(llm: LLM, scene: Scene, deadline_s: float) -> Any:
    from onesec.apps import Entry, Support

    notes = [Entry(str(number), line) for number, line in enumerate(scene.given.splitlines())]
    return Support(llm, notes).ask(scene.question, deadline_s, records=[scene.record])


def _answer(llm: LLM, scene: Scene, deadline_s: float) -> Any:
    from onesec.apps import Answer

    return Answer(llm)(scene.question, scene.given, deadline_s)


def _translate(llm: LLM, scene: Scene, deadline_s: float) -> Any:
    from onesec.apps import Translate

    return Translate(llm)(scene.question, deadline_s)


def _summarize(llm: LLM, scene: Scene, deadline_s: float) -> Any:
    from onesec.apps import Summarize

    return Summarize(llm)(scene.question, deadline=deadline_s)


_SHOP = (
    "The blue kettle costs $34.\nDelivery costs $5.\nYou can return items within 30 days.",
    "蓝色水壶的价格是34元。\n运费是5元。\n您可以在30天内退货。",
)
_MATCH = (
    "Leo Bright won the Lake Cup. The Lake Cup finished 3-1. It was played at Mill Stadium. "
    "Anna Field won the Hill Cup. The Hill Cup was held at North Hall.",
    "李明获得了湖杯冠军。湖杯的比分是3比1。湖杯在青山体育馆举行。王芳获得了山杯冠军。",
)
_LETTER = (
    "Dear team, the handle gets very hot. I am talking about the blue kettle from order B60. "
    "Please send me a new one. Best regards, Anna",
    "客服您好，订单B60的蓝色水壶有问题：把手很烫。请换一个新的。谢谢，李明",
)
SCENES = (
    Scene("support", "en", "How much is the blue kettle?", 300.0, _support, _SHOP[0]),
    Scene(
        "support",
        "zh",
        "订单B60什么时候到？",
        300.0,
        _support,
        _SHOP[1],
        "订单号：B60，商品：蓝色水壶，送达：周一",
    ),
    Scene("answer", "en", "What was the score of the Lake Cup?", 300.0, _answer, _MATCH[0]),
    Scene("answer", "zh", "湖杯在哪里举行？", 300.0, _answer, _MATCH[1]),
    Scene("translate", "en", "How much is delivery?", 200.0, _translate),
    Scene("translate", "zh", "请给我冰淇淋。", 200.0, _translate),
    Scene("summarize", "en", _LETTER[0], 500.0, _summarize),
    Scene("summarize", "zh", _LETTER[1], 500.0, _summarize),
)


@click.command("demo")
@model_option
@deadline_option
@threads_option
@json_option
def command(model: str, deadline: str | None, threads: int | None, as_json: bool) -> None:
    """Show the four applications in English and Chinese, each within a deadline. 演示

    --deadline gives all of them the same time.
    """
    from onesec.core.deadline import parse_duration_ms

    same_ms = None if deadline is None else parse_duration_ms(deadline)
    with load_llm(model, {"threads": threads}, needs_16=False) as llm:
        need_chat_template(llm, model)
        told = (play(llm, scene, same_ms or scene.deadline_ms) for scene in SCENES)
        if as_json:
            emit_json({"model": model, "answers": list(told)})
            return
        title = f"{model}: four applications, two languages"
        with growing_table(title, _HEADS, folded=("question", "answer"), least=_TABLE_CELLS) as add:
            for record in told:
                add(_row(record))


def play(llm: LLM, scene: Scene, deadline_ms: float) -> dict[str, Any]:
    """One scene as plain values; where there is not time enough, the refusal in the answer's place.

    `predicted_ms` is what the planner foresaw before the first token, summed over the completions
    that the application asked for.
    """
    from onesec.core.errors import DeadlineInfeasible

    record: dict[str, Any] = {
        "application": scene.application,
        "language": scene.language,
        "question": scene.question,
        "deadline_ms": deadline_ms,
    }
    start = time.perf_counter()
    try:
        result = scene.ask(llm, scene, deadline_ms / 1e3)
    except DeadlineInfeasible as refusal:
        return record | {"feasible_ms": refusal.feasible_ms}
    took_ms = 1e3 * (time.perf_counter() - start)
    traces = [reply.trace for reply in _replies(result)]
    return record | {
        "answer": result.text,
        "predicted_ms": sum(trace.predicted_ms or 0.0 for trace in traces),
        "took_ms": took_ms,
        "met": took_ms <= deadline_ms,
        "gears": list(dict.fromkeys(gear for trace in traces for gear in trace.gears)),
    }


def _replies(result: Any) -> list[Any]:
    """The completions that an application's result was made of, as far as it keeps them."""
    made = getattr(result, "sentences", None) or [result]
    return [one.reply for one in made if one.reply is not None]


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    from rich.cells import cell_len, set_cell_size

    question = record["question"]
    if cell_len(question) > _SHOWN_CELLS:
        question = set_cell_size(question, _SHOWN_CELLS - 1).rstrip() + "…"
    head = f"{record['application']} {record['language']}", question
    deadline = f"{record['deadline_ms']:g}"
    if "feasible_ms" in record:
        offer = f"refused: {record['feasible_ms']:.0f} ms would do"
        return (*head, offer, "-", "-", deadline, "-")
    took = f"{record['took_ms']:.0f}{'' if record['met'] else ' LATE'}"
    times = f"{record['predicted_ms']:.0f}", took, deadline
    return (*head, record["answer"], *times, "→".join(record["gears"]))
