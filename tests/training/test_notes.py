"""Everyday notes: what is answered stands in them, and what is refused does not."""

from __future__ import annotations

import random
import re

import pytest

from training import note_kinds, note_text, note_values, notes, shop, support
from training.chat import Conversation
from training.desk import DESKS
from training.note_kinds import things, topics
from training.note_text import fields, make_fact, make_facts
from training.notes import notes_conversation
from training.wording import Wide


def made(lang: int, count: int, seed: int = 3) -> list[Conversation]:
    rng = Wide(seed)
    return [notes_conversation(rng, lang) for _ in range(count)]


@pytest.mark.parametrize("lang", [0, 1])
def test_the_same_seed_makes_the_same_conversations(lang: int) -> None:
    first = [chat.messages() for chat in made(lang, 40)]
    assert first == [chat.messages() for chat in made(lang, 40)]
    assert first != [chat.messages() for chat in made(lang, 40, seed=4)]


@pytest.mark.parametrize("lang", [0, 1])
def test_every_value_of_a_reply_stands_in_the_note(lang: int) -> None:
    refused = answered = 0
    for chat in made(lang, 1500):
        note = (chat.system or chat.turns[0].question).casefold()
        assert chat.turns
        for turn in chat.turns:
            assert turn.lang == lang
            if turn.skill == "unknown":
                assert turn.answer == DESKS[lang].UNKNOWN_FIELD
                refused += 1
                continue
            answered += 1
            for value in turn.required:
                assert value.casefold() in note
                assert value.casefold() in turn.answer.casefold()
    assert 0.15 < refused / (refused + answered) < 0.27


@pytest.mark.parametrize("lang", [0, 1])
def test_what_is_refused_is_not_told(lang: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that is refused is about a topic, a part or a thing that no fact tells of."""
    seen: list[tuple[str, str, str]] = []
    question = notes.Customer.question

    def watched(self, topic, part, told, called):
        seen.append((topic.name, part, called))
        return question(self, topic, part, told, called)

    monkeypatch.setattr(notes.Customer, "question", watched)
    rng = Wide(5)
    for _ in range(600):
        style = note_values.manner(rng, lang)
        facts = make_facts(rng, lang, style, rng.randint(1, 9))
        customer = notes.Customer(rng, lang, facts, style)
        turn = customer.unsaid()
        name, part, called = seen[-1]
        assert turn.skill == "unknown"
        same = [fact for fact in facts if fact.topic.name == name and fact.written == called]
        assert not any(part in fact.variant.replies for fact in same)
        if not same:
            beside = {fact.topic.name for fact in facts if called in ("", fact.written)}
            assert not beside & set(topics(lang)[name].near)


@pytest.mark.parametrize("lang", [0, 1])
def test_a_topic_is_told_once_of_a_thing(lang: int) -> None:
    rng = Wide(6)
    for _ in range(400):
        facts = make_facts(rng, lang, note_values.manner(rng, lang), rng.randint(1, 12))
        told = [(fact.topic.name, fact.written) for fact in facts]
        assert len(set(told)) == len(told)
        hours = {fact.topic.name for fact in facts if "hours" in fact.topic.groups}
        assert len(hours) <= 1


def test_both_languages_tell_and_ask_of_the_same() -> None:
    english, chinese = topics(0), topics(1)
    assert set(english) == set(chinese)
    assert len(english) >= 110
    assert set(things(0)) == {"", "day", *note_values.SUBJECTS}
    for name, topic in english.items():
        other = chinese[name]
        assert set(topic.asks) == set(other.asks), name
        kinds = [(set(v.replies), set(v.untold)) for v in topic.variants]
        assert kinds == [(set(v.replies), set(v.untold)) for v in other.variants], name
        assert all(near == "*" or near in english for near in topic.near), name


@pytest.mark.parametrize("lang", [0, 1])
def test_every_topic_is_whole(lang: int) -> None:
    for topic in topics(lang).values():
        for variant in topic.variants:
            assert len(variant.sentences) >= 3
            assert variant.pairs
            assert set(variant.replies) | set(variant.untold) <= set(topic.asks)
            assert not set(variant.replies) & set(variant.untold)
            needed = {f for reply in variant.replies.values() for f in fields(reply)}
            for sentence in variant.sentences:
                assert needed <= set(fields(sentence)) | {"n"}, sentence
            for key, value in variant.pairs:
                assert needed <= set(fields(key + value)) | {"n"}, value
        for marks in topic.asks.values():
            assert sum(map(len, marks.values())) >= 3, topic.name
            for template in (t for listed in marks.values() for t in listed):
                assert template.count("[") == template.count("]")
                assert "{n}" in template or not topic.thing, template


@pytest.mark.parametrize("lang", [0, 1])
def test_every_layout_tells_every_value(lang: int) -> None:
    rng = Wide(8)
    for topic in topics(lang).values():
        for variant in topic.variants:
            style = note_values.manner(rng, lang)
            thing = "Mon" if topic.thing == "day" else ""
            if topic.thing and not thing:
                thing = note_values.subjects(rng, lang, topic.thing, 1)[0]
            fact = make_fact(rng, lang, topic, style, variant, thing)
            needed = {f for reply in variant.replies.values() for f in fields(reply)} - {"n"}
            for _ in range(12):
                text = note_text.laid_out(rng, lang, [fact]).casefold()
                assert all(fact.told[f].casefold() in text for f in needed)
                assert thing.casefold() in text


@pytest.mark.parametrize("lang", [0, 1])
def test_nothing_is_left_unfilled(lang: int) -> None:
    for chat in made(lang, 300):
        for turn in chat.turns:
            assert not re.search(r"[{}\[\]|]", turn.answer), turn.answer
            if chat.system:
                assert not re.search(r"[{}]", turn.question), turn.question


def test_values_are_in_the_manner_of_the_note_and_differ() -> None:
    rng = random.Random(9)
    style = note_values.Manner("bare", "{} dollars", 5, 40)
    for _ in range(200):
        told = note_values.drawn(rng, 0, ["money", "money2", "c", "pay", "pay2", "date", "date2"],
            style, {})  # fmt: skip
        first, second = (float(told[f].removesuffix(" dollars")) for f in ("money", "money2"))
        assert first < second
        assert re.fullmatch(r"\d+(:30)?", told["c"])
        assert told["pay"] != told["pay2"]
        digits = [any(map(str.isdigit, told[f])) for f in ("date", "date2")]
        assert digits[0] == digits[1]


def test_a_product_may_be_called_the_thing_that_it_is_and_has_siblings() -> None:
    assert note_values.noun("dark blue desk lamp", 0) == "desk lamp"
    assert note_values.noun("深蓝色书桌", 1) == "书桌"
    assert note_values.noun("lamp", 0) == note_values.noun("Sola K12", 0) == ""
    assert note_values.sibling(random.Random(1), "red lamp", 0).endswith(" lamp")
    topic = topics(0)["price"]
    style = note_values.manner(random.Random(1), 0)
    one, two = (make_fact(Wide(2), 0, topic, style, None, n) for n in ("red lamp", "red chair"))
    third = make_fact(Wide(2), 0, topic, style, None, "blue lamp")
    alone = notes.Customer(Wide(3), 0, [one, two], style)
    assert {alone.short(one, "red lamp") for _ in range(100)} == {"red lamp", "lamp"}
    several = notes.Customer(Wide(3), 0, [one, two, third], style)
    assert {several.short(one, "red lamp") for _ in range(100)} == {"red lamp"}
    strangers = {alone.stranger("product") for _ in range(200)}
    assert not strangers & {"red lamp", "red chair"}
    assert any(name.endswith(" lamp") for name in strangers)


def test_what_is_not_told_of_a_thing_is_asked_in_vain() -> None:
    topic, style = topics(0), note_values.manner(random.Random(1), 0)
    facts = [
        make_fact(Wide(2), 0, topic[name], style, None, thing)
        for name, thing in (("price", "red lamp"), ("weight", "tent"), ("rent", "ladder"))
    ]
    customer = notes.Customer(Wide(3), 0, facts, style)
    assert customer.without(topic["price"]) == ["tent"]
    assert customer.without(topic["weight"]) == ["red lamp", "ladder"]
    assert customer.without(topic["stock"]) == []


def test_no_held_name_is_drawn() -> None:
    rng = random.Random(10)
    for lang in (0, 1):
        for base in ("person", "place"):
            drawn = [note_values.MAKERS[base](rng, lang, False) for _ in range(300)]
            assert not any(shop.is_held_name(name) for name in drawn)


def test_questions_are_asked_as_people_type(monkeypatch: pytest.MonkeyPatch) -> None:
    shouted = lambda rng, lang, question: question.upper()  # noqa: E731
    assert notes.rough is support.rough
    monkeypatch.setattr(notes, "rough", shouted)
    assert all(t.question == t.question.upper() for c in made(0, 20) if c.system for t in c.turns)


def test_a_file_with_an_unknown_mark_is_refused() -> None:
    with pytest.raises(ValueError, match="door"):
        note_kinds.read("[door]\n% no such mark", 0)
