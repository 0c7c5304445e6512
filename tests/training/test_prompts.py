"""The prompts that training uses are, letter for letter, the ones that the applications send."""

from __future__ import annotations

from typing import Any

import pytest

from training import desk_en, desk_zh, kinds_en, kinds_zh
from training import translate as pairs

apps = pytest.importorskip("onesec.apps")
KINDS, DESKS, LANGUAGES = (kinds_en, kinds_zh), (desk_en, desk_zh), ("en", "zh")


class Model:
    """What an application asks of a model before it yields its first Ask."""

    context_length = 4096

    def count_tokens(self, text: str) -> int:
        return len(text)

    def predict_ms(self, prompt_tokens: int, answer_tokens: int) -> float:
        return 1.0


def messages(app: Any, *args: Any) -> tuple[dict[str, str], ...]:
    return next(app.steps(*args, app.due("10s"))).messages


@pytest.mark.parametrize("lang", [0, 1])
def test_answer(lang: int):
    text = ("The lamp is red.", "灯是红色的。")[lang]
    question = ("What colour is the lamp?", "灯是什么颜色的？")[lang]
    (message,) = messages(apps.Answer(Model()), question, text)
    assert message["content"] == KINDS[lang].ANSWER_APP.format(text=text, q=question)


@pytest.mark.parametrize("lang", [0, 1])
@pytest.mark.parametrize(
    ("length", "key", "n"),
    [("one sentence", "one", 1), ("2 sentences", "sentences", 2), ("40 words", "words", 40)],
)
def test_summarize(lang: int, length: str, key: str, n: int):
    text = ("The lamp is red. It is old.", "灯是红色的。它很旧。")[lang]
    (message,) = messages(apps.Summarize(Model()), text, length)
    assert message["content"] == KINDS[lang].SUMMARY_APP[key].format(text=text, n=n)


@pytest.mark.parametrize("lang", [0, 1])
def test_translate(lang: int):
    text = ("The lamp is red.", "灯是红色的。")[lang]
    glossary = {"lamp": "灯"}
    frame, _ = pairs.TERMS[lang]
    terms = frame.format(("lamp = 灯", "灯 = lamp")[lang])
    (message,) = messages(apps.Translate(Model(), glossary=glossary), text)
    assert message["content"] == pairs.APP[lang].format(terms=terms, s=text)


@pytest.mark.parametrize("lang", [0, 1])
def test_support(lang: int):
    note = ("The lamp costs $5.", "灯的价格是5元。")[lang]
    question = ("How much is the lamp?", "灯的价格是多少？")[lang]
    desk = apps.Support(Model(), [apps.Entry("a", note)])
    talk = desk.conversation(records=[{"order": "4821", "status": "shipped"}])
    ask = next(talk.steps(question, desk.due("10s")))
    table = DESKS[lang]
    expected = [table.NOTES, f"- {note}", table.RECORDS, "- order: 4821, status: shipped"]
    assert ask.messages[0]["content"] == "\n".join(expected)
    assert ask.messages[-1] == {"role": "user", "content": question}
