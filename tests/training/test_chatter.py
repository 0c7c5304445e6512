"""Small talk that training has: many ways to say it, the replies of the tables."""

from __future__ import annotations

import random

import pytest

from training import desk_en, desk_zh
from training.chat import Conversation, Turn
from training.chatter import chatter, mannered, more, typed
from training.shop import PHRASES, expansions
from training.talk import TOPICS
from training.wording import Wide, added, plain


@pytest.mark.parametrize("lang", [0, 1])
def test_the_same_seed_makes_the_same_talk(lang: int) -> None:
    def drawn(seed: int) -> list[list[dict[str, str]]]:
        rng = Wide(seed)
        return [chatter(rng, lang).messages() for _ in range(40)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


@pytest.mark.parametrize(("lang", "least"), [(0, 80), (1, 50)])
def test_every_topic_is_said_in_many_ways(lang: int, least: int) -> None:
    for topic in TOPICS:
        new = added()[plain(PHRASES[lang].TALK[topic]["ask"])]
        assert len({s for template in new for s in expansions(template)}) > 2 * least, topic


def test_both_languages_have_the_same_topics_and_one_reply_each() -> None:
    assert set(more(0)) == set(more(1)) == {"praise", "wrong", "wait", "confused", "unknown"}
    for lang, table in enumerate((desk_en, desk_zh)):
        assert more(lang)["unknown"][1] == table.UNKNOWN_FIELD
        for asks, reply in more(lang).values():
            assert len({s for template in asks for s in expansions(template)}) > 100
            assert reply == reply.strip()
            assert "[" not in reply


@pytest.mark.parametrize("lang", [0, 1])
def test_nothing_that_is_said_belongs_to_two_topics(lang: int) -> None:
    """Else the reply could not be told."""
    topics = {topic: PHRASES[lang].TALK[topic]["ask"] for topic in TOPICS}
    owner: dict[str, str] = {}
    everything = {t: plain(a) + added()[plain(a)] for t, a in topics.items()}
    everything |= {topic: asks for topic, (asks, _) in more(lang).items()}
    for topic, templates in everything.items():
        for sentence in {s.lower().rstrip("?？.。!！") for t in templates for s in expansions(t)}:
            assert owner.setdefault(sentence, topic) == topic, (sentence, topic, owner[sentence])


@pytest.mark.parametrize("lang", [0, 1])
def test_a_talk_begins_with_its_greeting_and_ends_with_its_goodbye(lang: int) -> None:
    rng = Wide(2)
    replies = {topic: PHRASES[lang].TALK[topic]["reply"] for topic in ("greet", "bye")}
    sizes = set()
    for _ in range(300):
        turns = chatter(rng, lang).turns
        sizes.add(len(turns))
        assert all(turn.answer in turn.anything_of for turn in turns)
        assert all(turn.answer not in replies["greet"] for turn in turns[1:])
        assert all(turn.answer not in replies["bye"] for turn in turns[:-1])
    assert sizes == {1, 2, 3, 4}


def test_manners_keep_what_a_customer_says() -> None:
    own = [Turn("fact", 0, f"Question {i}?", f"Answer {i}.") for i in range(3)]
    rng = Wide(3)
    greeted = thanked = 0
    for _ in range(1000):
        chat = mannered(rng, Conversation("Notes", list(own)))
        assert chat is not None
        assert chat.system == "Notes"
        assert [turn for turn in chat.turns if turn.skill == "fact"] == own
        assert all(turn.skill == "talk" for turn in chat.turns if turn not in own)
        greeted += chat.turns[0] not in own
        thanked += chat.turns[-1] not in own
    assert 100 < greeted < 210
    assert 150 < thanked < 300
    assert mannered(rng, None) is None


def test_typing_leaves_the_words() -> None:
    rng = random.Random(4)
    for lang, said in ((0, "How are you?"), (1, "你好吗？")):
        found = {typed(rng, lang, said) for _ in range(300)}
        assert said in found
        assert len(found) > 4
        assert all(text.lower().startswith(said[:-1].lower()) for text in found)
