"""Sentences of daily life: their words agree, and nothing of them is the examination's."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from training import everyday, pairs, translate, words
from training.everyday import FIELD, contracted, filled, in_chinese, in_english, read_word, slots
from training.wording import Wide

COFFEE = read_word("noun", "cup of coffee = 杯 咖啡")
SHOES = read_word("noun", "pair of shoes = 双 鞋")
UMBRELLA = read_word("noun", "umbrella = 把 雨伞")
KNIFE = read_word("noun", "knife/knives = 把 刀")
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def test_the_same_seed_makes_the_same_sentences() -> None:
    def drawn(seed: int) -> list[words.Pair]:
        rng = Wide(seed)
        return [everyday.sentence(rng) for _ in range(50)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_there_are_many() -> None:
    rng = random.Random(3)
    assert len(set(everyday.patterns())) == len(everyday.patterns()) > 500
    assert len({everyday.sentence(rng) for _ in range(5000)}) > 4500
    assert all(len(set(found)) >= 15 for found in everyday.lists().values())


def test_every_pattern_is_filled_in_its_language() -> None:
    rng = random.Random(4)
    for pattern in everyday.patterns():
        for _ in range(3):
            english, chinese = filled(rng, pattern)
            assert not CHINESE.search(english), english
            assert CHINESE.search(chinese), chinese
            assert english[0].isupper() or english[0].isdigit(), english
            assert not re.search(r"[{}]|  | [.?!,]|\b(\w+) \1\b(?! [A-Z])", english), english
            assert not re.search(r"[{}]| 。|的的|了了", chinese), chinese


def test_both_sides_have_the_same_words() -> None:
    for pattern in everyday.patterns():
        sides = [
            {s for f in FIELD.findall(side) for s in slots(f)[1]} for side in pattern.split(" = ")
        ]
        assert sides[0] == sides[1], pattern


def test_nouns_are_counted_and_agree() -> None:
    two = read_word("noun", "cup of coffee = 杯 咖啡")
    assert in_english("n", two) == "two cups of coffee"
    assert in_chinese("n", two) == "两杯咖啡"
    assert in_english("", COFFEE) == "coffee"
    assert in_english("is", COFFEE) == "is"
    assert in_english("how", COFFEE) == "how many cups of coffee"
    assert in_chinese("how", COFFEE) == "几杯咖啡"
    assert in_english("a", UMBRELLA) == "an umbrella"
    assert in_english("a", UMBRELLA, "red") == "a red umbrella"
    assert in_chinese("a", UMBRELLA, "红色") == "一把红色的雨伞"
    assert in_english("n", KNIFE, "old") == "two old knives"
    assert in_english("this", SHOES, "old") == "these old shoes"
    assert in_chinese("this", SHOES, "旧") == "这双旧的鞋"
    assert in_english("a", SHOES, "old") == "a pair of old shoes"
    assert [in_english(form, SHOES) for form in ("is", "costs", "it")] == ["are", "cost", "they"]
    assert [in_english(form, UMBRELLA) for form in ("is", "costs", "it")] == ["is", "costs", "it"]


def test_persons_and_verbs_agree() -> None:
    said = {
        line: [in_english(form, read_word("who", line)) for form in ("is", "was", "has", "goes")]
        for line in ("I/me/my = 我/我的", "she/her/her = 她/她的", "we/us/our = 我们/我们的")
    }
    assert list(said.values()) == [
        ["am", "was", "have", "go"],
        ["is", "was", "has", "goes"],
        ["are", "were", "have", "go"],
    ]
    children = read_word("who", "the children/them/their = 孩子们/他们的")
    assert in_english("studies", children) == "study"
    assert [in_english(f, children) for f in ("obj", "him", "his")] == [
        "the children",
        "them",
        "their",
    ]
    assert [in_chinese(f, children) for f in ("", "him", "his")] == ["孩子们", "他们", "他们的"]


def test_a_word_is_always_translated_the_same() -> None:
    for slot, found in everyday.lists().items():
        for lang in (0, 1):
            names: dict[str, set[str]] = {}
            for word in found:
                pair = (in_english("", word), in_chinese("", word))
                names.setdefault(pair[lang], set()).add(pair[1 - lang])
            assert all(len(others) == 1 for others in names.values()), (slot, names)


def test_nothing_held_is_in_the_lists() -> None:
    held = {side for both in (*words.HELD_THINGS, *words.HELD_QUALITIES) for side in both}
    for found in everyday.lists().values():
        for word in found:
            assert not {in_english("", word), *word.english, *word.chinese} & held, word


@pytest.fixture(scope="module")
def held_patterns() -> list[re.Pattern[str]]:
    """The patterns that are kept for the evaluation; those of nothing but values match anything."""
    found = []
    for side in (side for line in pairs.kept() for side in line.split(" = ")):
        if len(max(re.split(r"\{\w+\}", side), key=len).strip(" .?!。？，,")) >= 4:
            found.append(re.compile(re.sub(r"\\\{\w+\\\}", r"\\S.{0,40}", re.escape(side))))
    return found


def test_no_held_pattern_is_said(held_patterns: list[re.Pattern[str]]) -> None:
    assert len(held_patterns) > 10
    rng = random.Random(5)
    for pattern in everyday.patterns() * 4:
        for side in filled(rng, pattern):
            assert not any(held.fullmatch(side) for held in held_patterns), side


def test_english_is_contracted_as_people_write_it() -> None:
    assert contracted("I do not like it.") == "I don't like it."
    assert contracted("We would like some tea.") == "We'd like some tea."
    assert contracted("What is the price?") == "What's the price?"
    for kept in ("Would you like some tea?", "I know what it is.", "Yes, I am."):
        assert contracted(kept) == kept


def test_chinese_is_polite_to_one_person() -> None:
    assert everyday.polite("你的伞在哪里？") == "您的伞在哪里？"
    assert everyday.polite("你们在哪里？") == "你们在哪里？"


def test_a_glossary_is_never_empty() -> None:
    rng = Wide(7)
    glossaries = [translate.with_terms(rng, source, False, False)[1] for source in (0, 1) * 500]
    assert all(" = " in glossary for glossary in glossaries)


def test_a_third_of_the_patterns_that_training_draws_are_everyday(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(everyday, "sentence", lambda rng: ("everyday", "everyday"))
    rng = Wide(6)
    drawn = Counter(translate.any_pattern(rng, False, False)[0] == "everyday" for _ in range(2000))
    assert 0.28 < drawn[True] / 2000 < 0.4
    for held, new in ((True, False), (True, True), (False, True)):
        assert all(translate.any_pattern(rng, held, new)[0] != "everyday" for _ in range(200))
