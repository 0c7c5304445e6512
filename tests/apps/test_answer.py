"""Answers from long texts: the passages chosen, the places cited."""

from __future__ import annotations

import pytest
from app_model import FakeModel
from hypothesis import given
from hypothesis import strategies as st

from onesec.apps import Answer
from onesec.apps.answer import MISSING, passages
from onesec.core.errors import ContextLengthExceeded, EmptyPrompt
from onesec.core.fitted import FitReport

FILLER = "The committee met again and talked about nothing of importance. "
FACT = "The warranty of the kettle lasts 24 months. "
LONG = FILLER * 300 + FACT + FILLER * 300


def reader(reply: str, **options: object) -> tuple[Answer, FakeModel]:
    model = FakeModel(reply=lambda prompt: reply, **options)  # type: ignore[arg-type]
    return Answer(model, clock=model.clock), model


def test_the_prompt_is_the_agreed_one() -> None:
    app, model = reader("Yes.")
    app("Is it red?", "It is red.\n\nIt is not blue.\n")
    app("是红色吗？", "是红色的。")
    assert model.prompts == [
        "Answer from the text. If it does not say, reply: The text does not say.\n\n"
        "It is red.\n\nIt is not blue.\n\nQuestion: Is it red?",
        "根据文章回答。如果没有提到，就回答：文中没有提到。\n\n是红色的。\n\n问题：是红色吗？",
    ]


def test_the_fact_is_found_in_a_long_text_and_cited_by_its_place() -> None:
    app, model = reader("It lasts 24 months.")
    found = app("How long is the warranty of the kettle?", LONG)
    assert FACT.strip() in model.prompts[0]
    assert model.count_tokens(model.prompts[0]) < model.context_length
    assert [LONG[place.start : place.end] for place in found.citations] == [FACT.strip()]
    assert found.citations[0].text == FACT.strip()
    assert found.read_chars >= len(LONG.rstrip())
    assert found.unsupported == ()


def test_what_the_model_was_not_given_of_its_passages_is_told() -> None:
    for report in (None, FitReport(removed_chars=40)):
        app, _ = reader("It lasts 24 months.", fitted=report)
        assert app("How long is the warranty of the kettle?", LONG).fitted == report


def test_passages_keep_the_order_of_the_text() -> None:
    app, _ = reader("Yes.")
    text = "\n\n".join([*[FILLER] * 5, "A kettle is here.", *[FILLER] * 5, "The kettle costs 5."])
    starts = [piece.start for piece in app("kettle cost?", text).passages]
    assert starts == sorted(starts)
    assert len(starts) == 2


def test_less_time_means_fewer_passages_and_never_none() -> None:
    text = "\n\n".join(f"The kettle number {n} costs {n} dollars." * 3 for n in range(40))
    sizes = []
    for deadline in ("100s", "700ms", "200ms"):
        app, _ = reader("Yes.", prompt_ms=1.0)
        sizes.append(len(app("What does the kettle cost?", text, deadline).passages))
    assert sizes[0] > sizes[1] > sizes[2] == 1


@pytest.mark.parametrize(
    "reply", [*MISSING.values(), "It is not mentioned in the text.", "文中未提及。"]
)
def test_not_in_the_text_is_recognised(reply: str) -> None:
    found = reader(reply)[0]("Who?", "The text does not matter.")
    assert not found.found
    assert found.citations == ()


def test_another_language_still_gets_the_text() -> None:
    app, model = reader("24个月。")
    app("保修多久？", "The warranty lasts 24 months.")
    assert "24 months" in model.prompts[0]


def test_empty_and_endless_input() -> None:
    app, _ = reader("Yes.")
    with pytest.raises(EmptyPrompt):
        app("Who?", " \n")
    with pytest.raises(EmptyPrompt):
        app("", "A text.")
    with pytest.raises(ContextLengthExceeded):
        app("who " * 2000, "A text.")


@given(st.text(alphabet="ab. 。\n中!?", max_size=300))
def test_passages_are_pieces_of_the_text(text: str) -> None:
    found = passages(text)
    assert "".join("".join(p.text.split()) for p in found) == "".join(text.split())
    assert all(text[p.start : p.end] == p.text for p in found)
