"""Translation: sentence by sentence, live, with a glossary, in the time there is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from app_model import FakeModel

from onesec.apps import Translate
from onesec.core.errors import (
    ContextLengthExceeded,
    DeadlineInfeasible,
    EmptyPrompt,
    InvalidRequest,
)


def upper(prompt: str) -> str:
    return prompt.partition(": ")[2].upper() or prompt.partition("：")[2]


def translator(**options: object) -> tuple[Translate, FakeModel]:
    model = FakeModel(reply=upper)
    return Translate(model, clock=model.clock, **options), model  # type: ignore[arg-type]


def test_the_prompt_is_the_agreed_one() -> None:
    app, model = translator(glossary={"cloud disk": "云盘", "order": "订单", "disk": "盘"})
    app("Is my cloud disk in the order?")
    app("我的云盘和订单在哪里？")
    app("Hello.")
    assert model.prompts == [
        "Translate into Chinese (cloud disk = 云盘; order = 订单): Is my cloud disk in the order?",
        "翻译成英语（云盘 = cloud disk；订单 = order）：我的云盘和订单在哪里？",
        "Translate into Chinese: Hello.",
    ]


def test_another_language_is_refused_instead_of_guessed_at() -> None:
    with pytest.raises(InvalidRequest, match="zh-CN"):
        translator(to="zh-CN")


def test_terms_that_the_reply_ignores_are_told() -> None:
    app, _ = translator(glossary={"order": "订单"})
    assert app("My order.").sentences[0].missing_terms == ("order",)
    assert app("Nothing.").sentences[0].missing_terms == ()


def test_lines_stay_and_what_needs_no_translation_is_not_asked() -> None:
    app, model = translator(to="zh")
    made = app("Hello there. Bye.\n\n12:30\n你好。\nEnd.")
    assert made.text == "HELLO THERE.BYE.\n\n12:30\n你好。\nEND."
    assert made.complete
    assert len(model.seen) == 3


def test_sentences_share_the_time_by_their_length() -> None:
    app, model = translator()
    app("Short one. This sentence here is about five times as long as that.", "1s")
    first, second = model.budgets_ms
    assert first is not None
    assert second is not None
    assert 200 < first < 400
    assert second > 900


def test_without_time_for_all_the_rest_is_left_and_told() -> None:
    app, model = translator()
    text = "A first sentence here. " * 40
    made = app(text, "200ms")
    assert not made.complete
    assert 0 < sum(sentence.done for sentence in made.sentences) < 40
    assert model.clock.now_ns() <= 1_000_000 + 210_000_000


def test_a_long_text_in_little_time_is_translated_from_its_beginning() -> None:
    app, _ = translator()
    made = app("A first sentence here. " * 400, "150ms")
    done = [sentence.done for sentence in made.sentences]
    assert done[0]
    assert done == sorted(done, reverse=True)


def test_without_time_for_any_it_is_refused() -> None:
    app, _ = translator()
    with pytest.raises(DeadlineInfeasible):
        app("A first sentence here.", "1ms")
    with pytest.raises(EmptyPrompt):
        app(" ")


def test_live_translates_a_sentence_before_the_next_one_is_heard() -> None:
    app, model = translator()
    heard: list[str] = []

    def speech() -> Iterator[str]:
        for piece in ("Good mor", "ning! Where", " is it? I am", " here"):
            heard.append(piece)
            yield piece

    made = []
    for sentence in app.live(speech(), "100ms"):
        made.append((sentence.source, len(heard)))
    assert made == [("Good morning!", 2), ("Where is it?", 3), ("I am here", 4)]
    assert model.budgets_ms == [99.0, 99.0, 99.0]


def test_live_goes_on_after_a_sentence_without_time() -> None:
    app, model = translator()
    model.prompt_ms = 3.0
    long = "This one is far too long for so little time, as everybody can see. "
    done = [sentence.done for sentence in app.live([long, "Hi. "], "60ms")]
    assert done == [False, True]
    assert [s.start for s in app.live(["Hi! ", "Ho! "], "60ms")] == [0, 4]


def test_terms_are_whole_words_wherever_they_stand() -> None:
    app, model = translator(
        glossary={"AI": "人工智能", "order": "订单", "disk": "盘", "a disk": "磁盘"}
    )
    app("He said: reorder it.")
    app("AIs and orders, a disk, a ramdisk and my disk.")
    assert model.prompts == [
        "Translate into Chinese: He said: reorder it.",
        "Translate into Chinese (AI = 人工智能; order = 订单; a disk = 磁盘; disk = 盘): "
        "AIs and orders, a disk, a ramdisk and my disk.",
    ]


def test_a_term_inside_a_word_of_the_reply_is_missing() -> None:
    model = FakeModel(reply=lambda prompt: "He said so.")
    app = Translate(model, clock=model.clock, glossary={"人工智能": "AI"})
    assert app("人工智能。").sentences[0].missing_terms == ("人工智能",)


def test_a_name_that_stays_as_it_is_is_a_term_of_both_languages() -> None:
    app, model = translator(glossary={"Orbit": "Orbit"})
    app("Orbit is big.")
    app("我喜欢Orbit。")
    assert model.prompts == [
        "Translate into Chinese (Orbit = Orbit): Orbit is big.",
        "翻译成英语（Orbit = Orbit）：我喜欢Orbit。",
    ]


def test_a_sentence_of_more_tokens_than_the_context_holds_is_left_and_told() -> None:
    app, model = translator()
    model.context_length = 60  # 120 characters
    text = f"Good morning! {'x' * 200}. Where is it?"
    made = app(text, "10s")
    assert [sentence.done for sentence in made.sentences] == [True, False, True]
    assert not made.complete
    live = app.live(["Good morning! ", f"{'x' * 200}. ", "Hi. "])
    assert [sentence.done for sentence in live] == [True, False, True]
    with pytest.raises(ContextLengthExceeded):
        app("x" * 200)
