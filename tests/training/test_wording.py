"""What training may say besides the tables: it is found there, is whole, and holds nothing held."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from training import (
    desk_en,
    desk_zh,
    kinds_en,
    kinds_zh,
    pairs,
    phrases_en,
    phrases_zh,
    portraits,
    tales,
    wording,
)
from training.held_facts import HELD_FACTS
from training.policies import RULES
from training.shop import expansions

TABLES = (phrases_en, phrases_zh, desk_en, desk_zh, kinds_en, kinds_zh)


def kept(table: object) -> list[str]:
    """The sentences in a table that are marked for the evaluation."""
    if isinstance(table, str):
        return sorted(expansions(table[1:])) if table.startswith("*") else []
    if isinstance(table, dict):
        return [s for value in table.values() for s in kept(value)]
    return [s for value in table for s in kept(value)] if isinstance(table, tuple) else []


def bare(sentence: str) -> str:
    """Words and values alone, in lower case."""
    return re.sub(r"[^\w{}]", "", sentence.lower())


@pytest.fixture(scope="module")
def held() -> set[str]:
    tables = [v for module in TABLES for k, v in vars(module).items() if k.isupper()]
    found = [s for table in tables for s in kept(table)]
    found += [s for rule in RULES.values() for s in kept(rule.facts) + kept(rule.asks)]
    found += [s for slots in HELD_FACTS.values() for both in slots.values() for s in both]
    found += [side for line in pairs.kept() for side in line.split(" = ")]
    return {bare(s) for s in found}


def as_sentence(lang: int, said: str) -> str:
    """What is told of an attribute, with its subject."""
    return f"{{n}}{said}。" if lang else f"{{n}} {said}."


def story_sentences() -> set[str]:
    """All that portraits and tales say and ask, with fields named as those of the tables."""
    found: set[str] = set()
    for lang, own in enumerate(("{n}'s", "{n}的")):
        for attribute in portraits.attributes(lang).values():
            templates = (*(as_sentence(lang, said) for said in attribute.says), *attribute.asks)
            found |= {s.replace("{n's}", own) for t in templates for s in expansions(t)}
        for plot in tales.plots(lang).values():
            ways = [way for beat in plot.beats if not beat.shared for way in beat.ways]
            for template in (*ways, *(t for asks in plot.asks.values() for t in asks)):
                for sentence in expansions(template):
                    named = sentence.replace("{a's}", own).replace("{a}", "{n}")
                    found.add(re.sub(r"\{(?!n\})[^}]+\}", "{v}", named))
    return found


@pytest.fixture(scope="module")
def added() -> set[str]:
    """Every sentence that training adds to those of the tables."""
    found = {
        side
        for new in wording.added().values()
        for template in new
        for sentence in expansions(template)
        for side in sentence.split(" = ")
    }
    assert len(found) > 100_000
    return found | story_sentences()


def test_nothing_held_is_added(held: set[str], added: set[str]) -> None:
    assert len(held) > 400
    assert not [side for side in added if bare(side) in held]


def test_nothing_held_stands_inside_what_is_added(held: set[str], added: set[str]) -> None:
    """Words that people say anyway ("greetings") are none of the evaluation's own."""
    own = sorted((s for s in held if len(s) > 7 and ("{" in s or len(s) > 12)), key=len)
    inside = re.compile("|".join(map(re.escape, reversed(own))))
    assert not [side for side in added if inside.search(bare(side))]


def grams(sentence: str) -> frozenset[str]:
    """Its runs of three characters."""
    text = bare(sentence)
    return frozenset(text[i : i + 3] for i in range(max(1, len(text) - 2)))


def test_nothing_near_held_is_added(held: set[str], added: set[str]) -> None:
    """Dice's measure over runs of three characters: one held sentence with a word more is 0.9."""
    parts = [grams(sentence) for sentence in held if len(sentence) > 7]
    having: dict[str, list[int]] = {}
    for number, part in enumerate(parts):
        for gram in part:
            having.setdefault(gram, []).append(number)
    near = []
    for side in added:
        own = grams(side)
        shared = Counter(number for gram in own for number in having.get(gram, ()))
        if any(2 * n >= 0.86 * (len(own) + len(parts[k])) for k, n in shared.items()):
            near.append(side)
    assert not near


def test_added_sentences_have_the_values_of_those_that_they_join() -> None:
    for known, new in wording.added().items():
        fields = {f for t in known for f in re.findall(r"\{(\w+)", t)}
        fields |= {"a", "v"} if fields & {"a", "v"} else set()
        for template in new:
            if template in pairs.known() or " = " in template:
                continue
            assert set(re.findall(r"\{(\w+)", template)) <= fields, (known, template)
            assert template.count("[") == template.count("]"), template


def test_both_sides_of_an_added_pattern_have_the_same_values() -> None:
    for line in wording.added()[pairs.known()]:
        english, chinese = line.split(" = ")
        sides = [
            {f.removeprefix("a_").removesuffix("_c").removesuffix("s").lower() for f in found}
            for found in (re.findall(r"\{(\w+)\}", side) for side in (english, chinese))
        ]
        assert sides[0] == sides[1], line


def test_no_reply_is_said_in_other_words() -> None:
    """Replies stay those of the tables: the examination knows them."""
    for module in (*wording.PHRASES, *wording.DESKS):
        for name in ("TOPICS", "FIELDS", "TALK"):
            for table in getattr(module, name, {}).values():
                for key, templates in table.items():
                    assert "reply" not in key or templates not in wording.added()


def test_only_a_wide_source_of_chance_draws_them() -> None:
    known = kinds_en.KINDS["person"]["city"][0]
    drawn = {random.Random(seed).choice(known) for seed in range(200)}
    wide = {wording.Wide(seed).choice(known) for seed in range(200)}
    assert drawn == set(known)
    assert set(known) < wide
