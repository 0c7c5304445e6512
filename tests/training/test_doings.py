"""Texts of what people did: each question has one answer, and it stands there as it is given."""

import random

import pytest
from asked import answers_of

from training import doings, words
from training.doings import COUNTS, VERBS, doings_conversation, plural
from training.wording import Wide


@pytest.mark.parametrize("lang", [0, 1])
def test_what_is_answered_stands_in_the_text(lang: int) -> None:
    rng = Wide(3)
    answers = none = 0
    for _ in range(800):
        chat = doings_conversation(rng, lang)
        told, unsaid = answers_of(chat, lang)
        answers, none = answers + told, none + unsaid
        assert len({turn.question for turn in chat.turns}) == len(chat.turns)
    assert 0.25 < none / (answers + none) < 0.45


@pytest.mark.parametrize("lang", [0, 1])
def test_a_sentence_tells_every_role(lang: int) -> None:
    rng = random.Random(4)
    for _ in range(1500):
        done = doings.doing(rng, lang)
        text = " ".join(doings.sentences(rng, done, lang)).casefold()
        for part in (done.who, done.things, *done.told.values()):
            assert part.casefold() in text


def test_every_question_can_be_asked_and_none_of_what_is_told_is_asked_in_vain() -> None:
    rng = random.Random(5)
    for lang in (0, 1):
        for _ in range(300):
            done = doings.doing(rng, lang)
            for role in ("who", "what", *doings.ROLES):
                asked = doings.question(rng, done, role, lang)
                assert asked.endswith("？" if lang else "?")
                named = done.who in asked or done.known in asked or done.noun in asked
                assert named, asked


def test_words() -> None:
    assert [plural(noun) for noun in ("box", "cup of tea", "pony", "mouse", "boy", "dish")] == [
        "boxes",
        "cups of tea",
        "ponies",
        "mice",
        "boys",
        "dishes",
    ]
    for verb, kinds in VERBS:
        assert len(verb) == 4
        assert set(kinds) <= set(doings.OBJECTS)
    assert len({verb for verb, _ in VERBS}) == len(VERBS)
    held = {name for pair in (*words.HELD_THINGS, *words.HELD_QUALITIES) for name in pair}
    made = {name for pairs in doings.OBJECTS.values() for pair in pairs for name in pair}
    assert not made & held
    assert len(COUNTS) > 10
