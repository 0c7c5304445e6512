"""Portraits and tales: what is answered stands in the text, what is not told is refused."""

import random
import re

import pytest
from asked import answers_of

from training import cast, portraits, shop, tales
from training.cast import fields
from training.chat import Conversation
from training.portraits import attributes, kinds, portrait_conversation
from training.shop import expansions
from training.stories import VALUES, Ask, listed
from training.tales import plots, tale_conversation
from training.wording import Wide

MAKERS = (portrait_conversation, tale_conversation)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("lang", [0, 1])
def test_what_is_answered_stands_in_the_text(make, lang: int) -> None:
    rng = Wide(3)
    answers = none = 0
    for _ in range(800):
        chat: Conversation = make(rng, lang)
        for turn in chat.turns:
            assert not re.search(r"[{}\[\]|]", turn.question + turn.answer), turn
        told, unsaid = answers_of(chat, lang)
        answers, none = answers + told, none + unsaid
        assert len(chat.turns) <= 7
    assert 0.33 < none / (answers + none) < 0.43


@pytest.mark.parametrize("make", MAKERS)
def test_the_same_seed_makes_the_same_text(make) -> None:
    for lang in (0, 1):
        first, second, other = (make(Wide(seed), lang).messages() for seed in (5, 5, 6))
        assert first == second != other


@pytest.mark.parametrize("make", MAKERS)
def test_both_languages_keep_to_their_own(make) -> None:
    han = re.compile(r"[\u4e00-\u9fff]")
    rng = random.Random(4)
    for _ in range(200):
        assert not han.search(make(rng, 0).turns[-1].question)
        assert han.search(make(rng, 1).turns[-1].question)


@pytest.mark.parametrize("lang", [0, 1])
def test_a_portrait_refuses_only_what_it_does_not_tell(lang: int) -> None:
    """A refused question is about an untold attribute, another name, or another value."""
    rng = random.Random(6)
    refused = 0
    for _ in range(1500):
        kind = rng.choice(list(kinds()))
        one = portraits.portrait(rng, kind, lang, [])
        text = " ".join(portraits.told_sentences(rng, one, lang)).casefold()
        assert all(made.casefold() in text for made in one.told.values())
        made: Ask = portraits.ask(rng, [one], lang)
        if made.answer is not None:
            assert made.answer in (*one.told.values(), one.name.removeprefix("the "))
            continue
        refused += 1
        told = {
            question
            for name in one.told
            for called in (
                one.name,
                portraits.by_kind(one, lang),
                portraits.FORMS[lang][one.sex][0],
            )
            for _ in range(12)
            for question in [portraits.asked(rng, one, name, called, lang)]
        }
        told |= {
            portraits.backwards(rng, one, name, value, lang)
            for name, value in one.told.items()
            for _ in range(6)
        }
        assert made.question not in told, (one, made.question)
    assert refused > 400


def test_two_portraits_of_a_kind_never_share_a_value() -> None:
    rng = random.Random(8)
    for _ in range(600):
        kind = rng.choice(list(kinds()))
        one = portraits.portrait(rng, kind, 0, [])
        two = portraits.portrait(rng, kind, 0, [one])
        assert not one.told.items() & two.told.items()


@pytest.mark.parametrize("lang", [0, 1])
def test_a_tale_tells_what_it_says_it_tells_and_refuses_the_rest(lang: int) -> None:
    rng = random.Random(7)
    names = [name for name in plots(lang) if name[0] != "@" and name != "lists"]
    refused = 0
    for number in range(1600):
        one = tales.tale(rng, names[number % len(names)], lang)
        text = " ".join(one.parts).casefold()
        for slot, made in one.told.items():
            assert made.casefold() in text, (slot, made, one.parts)
        asked = tales.ask(rng, [one], lang, number % 2 == 0)
        if asked is None:
            continue
        if asked.answer is not None:
            assert asked.answer in one.told.values()
            continue
        refused += 1
        same = [
            told.question
            for slot in one.told
            if slot in one.asks
            for named in (False, True)
            for _ in range(6)
            if (words := tales.worded(rng, one, slot, set()))
            and (told := tales.asked(rng, one, words, lang, one.cast, named))
        ]
        assert asked.question not in same, (one.parts, asked)
    assert refused > 300


@pytest.mark.parametrize("lang", [0, 1])
def test_a_question_about_one_of_two_tales_says_whom_it_means(lang: int) -> None:
    rng = random.Random(9)
    for _ in range(400):
        both = [tales.tale(rng, "visit", lang) for _ in range(2)]
        if asked := tales.ask(rng, both, lang, False):
            who = {name for one in both for name in cast.people(one.cast)}
            assert any(name in asked.question for name in who), asked


@pytest.mark.parametrize("lang", [0, 1])
def test_every_slot_of_a_plot_can_be_made_and_asked_in_several_ways(lang: int) -> None:
    table = plots(lang)
    assert len(table) > 45
    for name, plot in table.items():
        said = {
            slot
            for beat in plot.beats
            if not beat.shared
            for way in beat.ways
            for sentence in expansions(way)
            for slot in fields(sentence)
        }
        for slot in said:
            kind = slot.rstrip("0123456789")
            known = {*plot.lists, *table["lists"].lists, *VALUES}
            assert {slot, kind} & known, (name, slot)
            asks = {s for t in plot.asks[slot] for s in expansions(t)}
            assert len(asks) >= 2, (name, slot)
            assert all(fields(s) <= said for s in asks), (name, slot)
        assert all(beat.ways[0] in {n[1:] for n in table} for beat in plot.beats if beat.shared)


@pytest.mark.parametrize("lang", [0, 1])
def test_every_attribute_has_its_sentences_and_a_question_that_names(lang: int) -> None:
    table = attributes(lang)
    used = {name for kind in kinds() for name in kind.attributes}
    assert used == set(table) == set(attributes(1 - lang))
    for name, one in table.items():
        for template in (*one.says, *one.opens):
            for sentence in expansions(template):
                assert sentence.count("{v}") == 1, (name, sentence)
        asks = {s for t in one.asks for s in expansions(t)}
        assert len(asks) >= 2
        assert any("{n" in s for s in asks), name
        assert one.makes in VALUES or len(listed(one.makes)) >= 6
        assert set(one.clashes) <= set(table)


def test_names_are_those_of_training() -> None:
    rng = random.Random(2)
    for lang in (0, 1):
        for _ in range(300):
            one = cast.cast_of(rng, lang)
            assert not any(shop.is_held_name(name) for name in cast.people(one))
            kind = rng.choice(list(kinds()))
            assert not shop.is_held_name(portraits.new_name(rng, kind, lang, []))
