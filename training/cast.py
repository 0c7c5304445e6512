"""The people of a story: who they are, and how sentences call them, by name at first and by pronoun
later.

It must not know what happens to them.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from . import values, words

FIELD = re.compile(r"\{([^{}]+)\}")
VOWEL = re.compile(r"\b([Aa]) (?=[aeio])")  # where the article is "an"
PEOPLE = {"a", "a's", "he", "his", "him", "b", "b's", "who", "kin", "bhe", "bhis", "bhim"}
HERO = {"a", "a's", "him"}  # what names the hero in a question
OTHER = {"b", "b's", "kin"}
OTHER_NAMED = 0.6  # of the stories give the other person's name
FORMS = (
    (("he", "his", "him"), ("she", "her", "her")),
    (("他", "他的", "他"), ("她", "她的", "她")),
)
FIRST_NAMES = (
    words.listed(
        "Ben David Frank Henry Jack Leo Oscar Paul Victor Adam Carl Eric George Ian Kevin"
    ),
    words.listed(
        "Anna Clara Emma Grace Ivy Kate Maria Nina Rosa Tina Wendy Bella Diana Fiona Lena"
    ),
)
ANYONE = "friend=朋友, neighbour=邻居, colleague=同事, teacher=老师, "
KIN = (
    words.pairs(
        ANYONE + "brother=弟弟, elder brother=哥哥, father=爸爸, uncle=叔叔, grandfather=爷爷, "
        "son=儿子, nephew=侄子, cousin=表弟, godfather=干爹"
    ),
    words.pairs(
        ANYONE + "sister=妹妹, elder sister=姐姐, mother=妈妈, aunt=姑姑, grandmother=奶奶, "
        "daughter=女儿, niece=侄女, cousin=表妹, godmother=干妈"
    ),
)


@dataclass(frozen=True)
class Cast:
    """The hero and the other person: names, sexes (0 he, 1 she) and the kind of kin."""

    name: str
    sex: int
    kin: str
    other: str | None


def fields(text: str) -> set[str]:
    """The slots that a sentence names, without the people."""
    return set(FIELD.findall(text)) - PEOPLE


def first_name(rng: random.Random, lang: int, sex: int) -> str:
    """What somebody is called, now and then with the family name."""

    def make() -> str:
        kind = rng.random()
        if lang:
            family = rng.choice(words.SURNAMES_ZH)
            return f"小{values.han(rng, 1, 1)}" if kind < 0.4 else family + values.han(rng, 1, 2)
        if kind < 0.4:
            return values.latin(rng, 1, 3)
        first = rng.choice(list(FIRST_NAMES[sex]))
        return first if kind < 0.75 else f"{first} {values.latin(rng, 1, 2)}"

    return values.name(rng, False, make)


def cast_of(rng: random.Random, lang: int) -> Cast:
    """A hero, and another person of the other sex."""
    sex = rng.randrange(2)
    kin = rng.choice(list(KIN[1 - sex]))[lang]
    other = first_name(rng, lang, 1 - sex) if rng.random() < OTHER_NAMED else None
    return Cast(first_name(rng, lang, sex), sex, kin, other)


def people(cast: Cast) -> set[str]:
    """The names of all."""
    return {name for name in (cast.name, cast.other) if name}


class Speaker:
    """Puts people and values into sentences, by name at first and by pronoun later."""

    def __init__(self, rng: random.Random, cast: Cast, lang: int) -> None:
        self.rng, self.cast, self.lang = rng, cast, lang
        self.met: set[str] = set()
        self.here = False  # the hero was named in this sentence
        self.seen: str | None = None  # the other person, as called where the story tells who it was

    def put(self, text: str, told: dict[str, str], pronouns: float) -> str:
        """The sentence; `pronouns` is how often the hero goes by one once met."""
        self.here = False
        text = FIELD.sub(lambda match: self.word(match[1], told, pronouns), text)
        return text if self.lang else VOWEL.sub(r"\1n ", text)

    def word(self, name: str, told: dict[str, str], pronouns: float) -> str:
        """What stands for a field."""
        he, his, him = FORMS[self.lang][self.cast.sex]
        bhe, bhis, bhim = FORMS[self.lang][1 - self.cast.sex]
        plain = {"he": he, "his": his, "bhe": bhe, "bhis": bhis, "bhim": bhim}
        if name in plain:
            return plain[name]
        if name in HERO:
            short = "a" in self.met and self.rng.random() < pronouns
            self.met.add("a")
            self.here = True
            own = self.owner(self.cast.name)
            return {
                "a": he if short else self.cast.name,
                "him": him if short else self.cast.name,
                "a's": his if short else own,
            }[name]
        if name == "kin":
            return self.cast.kin
        if name in ("b", "b's", "who"):
            called = self.other(pronouns)
            self.seen = called if name == "who" else self.seen
            return self.owner(called) if name == "b's" else called
        return told[name]

    def owner(self, name: str) -> str:
        """Whose it is."""
        return f"{name}的" if self.lang else f"{name}'s"

    def other(self, pronouns: float) -> str:
        """The other person, called by kin and name at first."""
        met = "b" in self.met
        self.met.add("b")
        his = FORMS[self.lang][self.cast.sex][1]
        if met and self.cast.other and self.rng.random() < 0.6:
            return self.cast.other
        whose = his if self.here or (pronouns and "a" in self.met) else self.owner(self.cast.name)
        self.met.add("a")
        related = whose + self.cast.kin if self.lang else f"{whose} {self.cast.kin}"
        if self.cast.other and not met:
            return f"{related}{self.cast.other}" if self.lang else f"{related} {self.cast.other}"
        return related
