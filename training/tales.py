"""Short stories of daily life, and questions about what happens in them. For training only.

The sheets are `stories/tales_*.txt`. A plot is a row of beats, each said in one of several ways;
what a beat tells are slots, and every slot has its questions. Beats in brackets (`&`) are shared by
plots. A story has one hero and at most one other person of the other sex, so that a pronoun speaks
of one of them only. It must not know what a tokenizer or a model is.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from functools import cache

from . import values, words
from .chat import Conversation, capital
from .shop import expand
from .stories import UNSAID_SHARE, VALUES, Ask, dialogue, idle, listed, sheet

FIELD = re.compile(r"\{([^{}]+)\}")
VOWEL = re.compile(r"\b([Aa]) (?=[aeio])")  # where the article is "an"
PEOPLE = {"a", "a's", "he", "his", "him", "b", "b's", "who", "kin", "bhe", "bhis", "bhim"}
HERO = {"a", "a's", "him"}  # what names the hero in a question
OTHER = {"b", "b's", "kin"}
OTHER_NAMED = 0.6  # of the stories give the other person's name
KEPT, SHARED_KEPT = 0.78, 0.45  # of a plot's own beats, and of those that it shares
ABOUT = "about"  # a shared beat that fits every plot
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
class Beat:
    """Ways to tell one step; or, where `shared`, the name of beats that others use too."""

    ways: tuple[str, ...]
    shared: bool = False


@dataclass
class Plot:
    """A row of beats, the questions for each slot, the plot's own lists of values, and the
    shared beats that it can do without."""

    beats: list[Beat] = field(default_factory=list)
    asks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)
    without: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Cast:
    """The hero and the other person: names, sexes (0 he, 1 she) and the kind of kin."""

    name: str
    sex: int
    kin: str
    other: str | None


@dataclass(frozen=True)
class Tale:
    """A plot as it was told: by whom, in which sentences, with which values."""

    plot: Plot
    cast: Cast
    parts: tuple[str, ...]
    told: dict[str, str]
    asks: dict[str, tuple[str, ...]]


@cache
def plots(lang: int) -> dict[str, Plot]:
    """All plots and shared beats (their names begin with `@`)."""
    found: dict[str, Plot] = {}
    for name, lines in sheet("tales", lang).items():
        plot = Plot()
        last = ""
        for mark, line in lines:
            if mark == "!":
                plot.without |= set(line.split())
            elif mark in "=?":
                slot, text = line.split(": ", 1)
                if mark == "=":
                    plot.lists[slot] = listed(text)
                else:
                    plot.asks[slot] = (*plot.asks.get(slot, ()), text)
            elif mark == "&":
                plot.beats += [Beat((shared,), True) for shared in line.split()]
            elif mark == last:
                plot.beats[-1] = Beat((*plot.beats[-1].ways, line))
            else:
                plot.beats.append(Beat((line,)))
            last = mark
        if "who" in plot.asks and plot.beats:
            first = (way.replace("{b}", "{who}", 1) for way in plot.beats[0].ways)
            plot.beats[0] = Beat(tuple(first))
        found[name] = plot
    return found


def fields(text: str) -> set[str]:
    """The slots that a sentence names, without the people."""
    return set(FIELD.findall(text)) - PEOPLE


# --- people ------------------------------------------------------------------------------------


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
    return {cast.name, cast.other} - {None}


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


# --- telling -----------------------------------------------------------------------------------


def make_value(rng: random.Random, slot: str, lists: dict[str, tuple[str, ...]], lang: int) -> str:
    """A value for a slot: its type is its name without digits."""
    kind = slot.rstrip("0123456789")
    items = lists.get(slot) or lists.get(kind) or plots(lang)["lists"].lists.get(kind)
    return expand(rng, rng.choice(list(items))) if items else VALUES[kind](rng, lang, False)


def beats_of(rng: random.Random, plot: Plot, lang: int) -> tuple[list[str], dict[str, Plot]]:
    """The sentences' templates in order, and the shared beats that could be among them."""
    table = plots(lang)
    shared = {b.ways[0]: table[f"@{b.ways[0]}"] for b in plot.beats if b.shared}
    beats = list(plot.beats)
    if ABOUT not in plot.without:
        shared[ABOUT] = table[f"@{ABOUT}"]
        beats.insert(1, Beat((ABOUT,), True))
    templates = []
    for number, beat in enumerate(beats):
        share = 0.2 if beat.ways[0] == ABOUT else SHARED_KEPT if beat.shared else KEPT
        if number and rng.random() > share:
            continue
        own = [table[f"@{beat.ways[0]}"].beats[0]] if beat.shared else [beat]
        templates += [rng.choice(list(b.ways)) for b in own]
    return templates, shared


def tale(rng: random.Random, name: str, lang: int) -> Tale:
    """A plot with people and values."""
    plot = plots(lang)[name]
    cast = cast_of(rng, lang)
    speaker = Speaker(rng, cast, lang)
    templates, shared = beats_of(rng, plot, lang)
    lists, asks = dict(plot.lists), dict(plot.asks)
    for other in shared.values():
        lists |= other.lists
        asks = other.asks | asks
    told: dict[str, str] = {}
    parts: list[str] = []
    for template in templates:
        text = expand(rng, template)
        for slot in sorted(fields(text) - set(told)):
            made = make_value(rng, slot, lists, lang)
            while made in told.values():
                made = make_value(rng, slot, lists, lang)
            told[slot] = speaker.put(made, {}, 1.0)
        parts.append(capital(speaker.put(text, told, 0.65)))
    if speaker.seen:
        told["who"] = speaker.seen
    if cast.other and "b" in speaker.met:
        told["bname"] = cast.other
    if "b" in speaker.met:
        asks = asks | plots(lang)["@names"].asks
    return Tale(plot, cast, tuple(parts), told, asks)


# --- asking ------------------------------------------------------------------------------------


def worded(rng: random.Random, one: Tale, slot: str, must: set[str]) -> str | None:
    """A question for the slot, which names one of `must` (if any) and nothing that is not told."""
    for _ in range(8):
        text = expand(rng, rng.choice(list(one.asks[slot])))
        named = set(FIELD.findall(text))
        if named - PEOPLE <= set(one.told) - {slot} and (not must or named & must):
            return text
    return None


def put_question(
    rng: random.Random, one: Tale, text: str, lang: int, cast: Cast, named: bool
) -> str:
    """The question about these people; `named`, without pronouns."""
    speaker = Speaker(rng, cast, lang)
    speaker.met = {"a", "b"}
    pronouns = 0.0 if named or rng.random() < 0.65 else 1.0
    return capital(speaker.put(text, one.told, pronouns))


def swapped(rng: random.Random, cast: Cast, lang: int) -> Cast:
    """The hero with other kin, of whom nothing is told."""
    kin = [both[lang] for both in KIN[1 - cast.sex] if cast.kin not in both[lang]]
    return Cast(cast.name, cast.sex, rng.choice([k for k in kin if k not in cast.kin]), None)


def ask(rng: random.Random, all_told: list[Tale], lang: int) -> Ask | None:
    """A question about one of the stories, or about what none of them tells."""
    one = rng.choice(all_told)
    alone = len(all_told) == 1
    must = set() if alone else HERO | OTHER
    told = [slot for slot in one.told if slot in one.asks]
    if rng.random() > UNSAID_SHARE:
        slot = rng.choice(told)
        text = worded(rng, one, slot, must)
        return text and Ask(put_question(rng, one, text, lang, one.cast, not alone), one.told[slot])
    way = rng.random()
    if way < 0.5:
        missing = [slot for slot in one.asks if slot not in one.told]
        rivalled = [slot for slot in missing if any(slot in other.told for other in all_told)]
        slot = rng.choice(rivalled if rivalled and rng.random() < 0.6 else missing or told)
        if slot not in one.told:
            text = worded(rng, one, slot, must)
            return text and Ask(put_question(rng, one, text, lang, one.cast, not alone), None)
    slot = rng.choice(told)
    if way < 0.8:
        text = worded(rng, one, slot, HERO)
        stranger = cast_of(rng, lang)
        if any(people(stranger) & people(known.cast) for known in all_told):
            return None
        return text and Ask(put_question(rng, one, text, lang, stranger, True), None)
    text = worded(rng, one, slot, OTHER)
    other = swapped(rng, one.cast, lang)
    return text and Ask(put_question(rng, one, text, lang, other, not alone), None)


def tale_conversation(rng: random.Random, lang: int) -> Conversation:
    """Up to seven questions about a story or two."""
    names = [name for name in plots(lang) if name[0] != "@" and name != "lists"]
    name = rng.choice(names)
    all_told = [tale(rng, name, lang)]
    if rng.random() < 0.3:
        second = tale(rng, name if rng.random() < 0.6 else rng.choice(names), lang)
        if not people(second.cast) & people(all_told[0].cast):
            all_told.append(second)
    parts = [part for one in all_told for part in one.parts]
    asks: list[Ask] = []
    count = rng.choice((1, 2, 3, 4, 5, 6, 7))
    while len(asks) < count:
        if made := ask(rng, all_told, lang):
            asks.append(made)
    return dialogue(rng, idle(rng, parts, lang), asks, lang)
