"""Where time and room end: long texts are read as far as there is time, and what is refused is told
in the caller's numbers, with an offer that works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from app_model import FakeModel

from onesec.apps import Answer, Entry, Summarize, Support, Translate, answer, text, translate
from onesec.apps.chunks import chunks
from onesec.apps.text import Span, sentence_break, sentences
from onesec.core.errors import ContextLengthExceeded, DeadlineInfeasible, EmptyPrompt

LONG = "The committee met again and talked about nothing of importance. " * 6000


class SlowCounter(FakeModel):
    """Counting takes time before the model is asked."""

    def count_tokens(self, text: str) -> int:
        self.clock.advance_ms(1.0)
        return super().count_tokens(text)


def calls(model: FakeModel) -> dict[str, Callable[..., Any]]:
    clock = model.clock
    entry = Entry("fee", "Delivery costs 5 dollars.")
    return {
        "support": Support(model, [entry], clock=clock).ask,
        "answer": lambda text, deadline=None: Answer(model, clock=clock)(text, "A fee.", deadline),
        "translate": Translate(model, clock=clock),
        "summarize": lambda text, deadline=None: Summarize(model, clock=clock)(
            text, deadline=deadline
        ),
    }


@pytest.fixture
def slow_sentences(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    """A model on whose clock every sentence that is looked for takes a millisecond."""
    model = FakeModel()

    def slow(text: str, *, longest: int = 1000) -> Iterator[Span]:
        for sentence in sentences(text, longest=longest):
            model.clock.advance_ms(1.0)
            yield sentence

    monkeypatch.setattr(answer, "sentences", slow)
    monkeypatch.setattr(translate, "sentences", slow)
    return model


def took_ms(model: FakeModel, call: Callable[[], Any]) -> tuple[Any, float]:
    start_ns = model.clock.now_ns()
    return call(), (model.clock.now_ns() - start_ns) / 1e6


def test_a_text_is_searched_as_far_as_there_is_time(slow_sentences: FakeModel) -> None:
    app = Answer(slow_sentences, clock=slow_sentences.clock)
    found, ms = took_ms(slow_sentences, lambda: app("What did the committee do?", LONG, "3s"))
    assert ms <= 3000
    assert 0.05 * len(LONG) < found.read_chars < 0.2 * len(LONG)


def test_a_refusal_counts_the_reading_of_more_text_in(slow_sentences: FakeModel) -> None:
    app = Answer(slow_sentences, clock=slow_sentences.clock)
    slow_sentences.prompt_ms = 10.0
    with pytest.raises(DeadlineInfeasible) as refusal:
        app("What did the committee do?", LONG, "1s")
    assert app("What did the committee do?", LONG, refusal.value.feasible_ms / 1e3).text


def test_sentences_are_looked_for_as_they_are_translated(slow_sentences: FakeModel) -> None:
    app = Translate(slow_sentences, clock=slow_sentences.clock)
    made, ms = took_ms(slow_sentences, lambda: app(LONG, "1s"))
    assert ms <= 1010
    assert made.sentences[0].done
    rest = made.sentences[-1]
    assert not rest.done
    assert (rest.end, rest.source) == (len(LONG.rstrip()), LONG[rest.start :].rstrip())


def test_a_model_that_says_nothing_is_not_asked_for_every_sentence() -> None:
    model = FakeModel(reply=lambda prompt: "")
    made = Translate(model, clock=model.clock)("A sentence here. " * 400, "60s")
    assert not made.complete
    assert len(model.seen) < 10


def test_a_long_text_is_cut_without_looking_for_all_its_sentences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = "The committee met again, and talked about nothing. " * 2000
    ends = text._END
    looked_at = []

    class Watched:
        def finditer(self, *where: Any) -> Iterator[Any]:
            for match in ends.finditer(*where):
                looked_at.append(match.end())
                yield match

    monkeypatch.setattr(text, "_END", Watched())
    pieces = chunks(whole, 1100)
    assert len(pieces) > 90
    assert all(piece.text.endswith("nothing.") for piece in pieces)
    assert len(looked_at) < 1000  # of 2000


@pytest.mark.parametrize(
    ("low", "high", "end"), [(0, 30, 8), (9, 30, 20), (21, 29, 20), (21, 40, 36), (3, 6, 4)]
)
def test_a_piece_ends_at_a_sentence_or_between_words(low: int, high: int, end: int) -> None:
    assert sentence_break("One two. Three four. Dr. Lee paid 5.", 0, low, high) == end


@pytest.mark.parametrize("name", ["support", "answer", "translate", "summarize"])
def test_a_refusal_tells_the_budget_that_was_asked_and_one_that_works(name: str) -> None:
    with pytest.raises(DeadlineInfeasible) as refusal:
        calls(SlowCounter())[name]("Delivery fee?", "1ms")
    assert refusal.value.budget_ms == pytest.approx(1.0)
    assert refusal.value.feasible_ms > 1.0
    assert "A budget of 1 ms" in str(refusal.value)
    written_ms = float(str(refusal.value).split("works now is ")[1].split(" ms")[0])
    assert calls(SlowCounter())[name]("Delivery fee?", written_ms / 1e3).text


@pytest.mark.parametrize("name", ["support", "answer", "translate", "summarize"])
def test_what_cannot_be_seen_is_empty(name: str) -> None:
    model = FakeModel()
    with pytest.raises(EmptyPrompt):
        calls(model)[name]("\u200b\u2060 \ufeff\x07")
    assert not model.seen


def test_a_text_of_nothing_visible_is_empty() -> None:
    with pytest.raises(EmptyPrompt):
        Answer(FakeModel())("Fee?", "\u200b\n")


def test_a_passage_denser_than_the_context_is_given_in_part() -> None:
    model = FakeModel(context_length=512)
    found = Answer(model, clock=model.clock)("水?", "水" * 3000)
    assert 50 < len(found.passages[0].text) < 600
    support = Support(FakeModel(context_length=300), [Entry("e", "fee " * 150)])
    assert support.ask("fee?").shown == ("e",)


@pytest.mark.parametrize("what", ["question", "records", "summary"])
def test_what_takes_too_much_room_is_named_with_its_numbers(what: str) -> None:
    model = FakeModel()
    asked: dict[str, Callable[[], Any]] = {
        "question": lambda: Support(model).ask("why " * 600),
        "records": lambda: Support(model).ask("why?", records=[{"note": "x" * 3000}]),
        "summary": lambda: Summarize(model)("A text.", "2000 words"),
    }
    with pytest.raises(ContextLengthExceeded, match=f"(?i){what}") as refusal:
        asked[what]()
    assert "1024" in str(refusal.value)
    assert "prompt" not in str(refusal.value)
