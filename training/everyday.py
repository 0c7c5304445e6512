"""Sentences of daily life in English and Chinese, for training only: patterns whose words agree.

The patterns stand in `sentences/everyday.txt` (`English = Chinese`), their words in
`sentences/everyday_words.txt`: under `[drink noun]` the list of the slot `drink`, of the kind
`noun`, a word a line. What a line holds depends on the kind:

    noun      cup of coffee = 杯 咖啡            one of them; measure word and name
    quality   big/bigger = 大                   and how it compares
    act       go out/went out/going out = 出去/出去了
    who       he/him/his = 他/他的              as subject, as object, and whose
    plain     tennis = 网球

A field is `{slot}`, `{form slot}` or `{form quality slot}`; a digit at its end asks for another
word of the slot. Slots without a list are those of `fields`. The forms are

    of a noun     name, a, n (a number of them), how (how many), this, that, pl (in general),
                  it, them, m (the measure word alone)
    of a quality  er
    of an act     past, ing, did (English has its base form, Chinese says that it is done)
    of a person   obj, him, his
    of a place    at (Chinese without 在)

and any other form is an English verb in the third person, which agrees with the word. It must not
know how a sentence becomes a conversation.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .chat import capital
from .fields import plural, value
from .shop import draw
from .words import Pair, with_article

FOLDER = Path(__file__).parent / "sentences"
FIELD = re.compile(r"\{([^}]+)\}")
NUMBERS = (
    ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    "两三四五六七八九十",
)
# Slots that are numbers, from where to where.
RANGES = {
    "age": (5, 89),
    "score": (40, 100),
    "degrees": (2, 38),
    "size": (12, 48),
    "kilos": (38, 110),
    "price": (3, 98),
    "nightly": (80, 900),
    "wage": (1800, 30000),
}
PERSONS = ("who", "other")
US = ("I", "we", "you")  # whom `other` leaves out
NAMES_SHARE = 0.25  # of the persons have a made-up name
# What people run together when they write; a translation into English has the full form.
SHORT = tuple(
    (re.compile(pattern), short)
    for pattern, short in (
        (
            r"\b([Dd]o|[Dd]oes|[Dd]id|[Ii]s|[Aa]re|[Ww]as|[Ww]ere|[Hh]as|[Hh]ave|[Ss]hould) not\b",
            r"\1n't",
        ),
        (r"\b([Cc]an)not\b", r"\1't"),
        (r"\bI am (?=\w)", "I'm "),
        (r"\b(I|[Yy]ou|[Hh]e|[Ss]he|[Ww]e|[Tt]hey) will\b", r"\1'll"),
        (r"\b(I|[Yy]ou|[Hh]e|[Ss]he|[Ww]e|[Tt]hey) would\b(?=.*[.!])", r"\1'd"),
        (r"^(It|He|She|That|What|Where|Who) is (?=\w)", r"\1's "),
        (r"^(We|They|You) are (?=\w)", r"\1're "),
        (r"^Let us\b", "Let's"),
    )
)


@dataclass(frozen=True)
class Word:
    """A word of a slot: its forms in English and in Chinese."""

    kind: str
    english: tuple[str, ...]
    chinese: tuple[str, ...]
    number: int = 2

    @property
    def bare(self) -> str:
        """The name alone: the coffee of a cup of coffee."""
        return self.english[0].rpartition(" of ")[2]

    @property
    def several(self) -> bool:
        """Whether English speaks of it in the plural."""
        if self.kind == "who":
            return self.english[2] in ("your", "our", "their")
        return self.kind == "noun" and self.bare != self.english[0] and self.bare.endswith("s")


def counted(number: int, lang: int) -> str:
    """A number before what is counted; some are in figures, so that both are seen."""
    words = NUMBERS[lang]
    written = number <= 10 and number % 3 != 1
    return words[number - 2] if written else str(number)


def agreeing(verb: str, word: Word) -> str:
    """The verb, given in the third person, as it is said of the word."""
    first = word.english[0] == "I"
    if verb in ("is", "was"):
        many = {"is": "are", "was": "were"}[verb]
        return many if word.several else "am" if first and verb == "is" else verb
    if not word.several and not first:
        return verb
    if verb == "has":
        return "have"
    if verb.endswith("ies"):
        return f"{verb[:-3]}y"
    return verb[:-2] if verb.endswith(("ches", "shes", "sses", "xes", "oes")) else verb[:-1]


def noun_in_english(form: str, word: Word, quality: str) -> str:
    """A noun with what stands before it."""
    head, of, _ = word.english[0].rpartition(" of ")
    name = f"{quality} {word.bare}".strip()
    many = word.english[1] if len(word.english) > 1 else plural(head or name)
    in_all = f"{many}{of}{name}" if of else f"{quality} {many}" if len(word.english) > 1 else many
    found = {
        "": name,
        "name": name,
        "a": with_article(f"{head}{of}{name}"),
        "n": f"{counted(word.number, 0)} {in_all.strip()}",
        "how": f"how many {in_all.strip()}",
        "this": f"{'these' if word.several else 'this'} {name}",
        "that": f"{'those' if word.several else 'that'} {name}",
        "pl": name if of else in_all.strip(),
        "it": "they" if word.several else "it",
        "them": "them" if word.several else "it",
    }
    return found[form] if form in found else agreeing(form, word)


def in_english(form: str, word: Word, quality: str = "") -> str:
    """A word in a form of it."""
    if word.kind == "noun":
        return noun_in_english(form, word, quality)
    if not form:
        return word.english[0]
    if word.kind == "who":
        named = word.english[0] not in ("I", "you", "he", "she", "we", "they")
        places = {"obj": 0 if named else 1, "him": 1, "his": 2}
        return word.english[places[form]] if form in places else agreeing(form, word)
    if form == "a":
        return with_article(word.english[0])
    return word.english[{"er": 1, "past": 1, "ing": 2, "did": 0, "at": 0}[form]]


def in_chinese(form: str, word: Word, quality: str = "") -> str:
    """A word in a form of it."""
    if word.kind == "noun":
        measure, name = word.chinese
        name = f"{quality}的{name}" if quality else name
        if form == "m":
            return measure
        before = {"a": "一", "n": counted(word.number, 1), "how": "几", "this": "这", "that": "那"}
        return f"{before[form]}{measure}{name}" if form in before else name
    if form == "at":
        return word.chinese[0].removeprefix("在")
    if form == "him":
        return word.chinese[1].removesuffix("的")
    return word.chinese[-1 if form in ("past", "did", "his") else 0]


def read_word(kind: str, line: str) -> Word:
    """A word from its line."""
    english, chinese = line.split(" = ")
    return Word(
        kind, tuple(english.split("/")), tuple(re.split(" " if kind == "noun" else "/", chinese))
    )


@cache
def lists() -> dict[str, tuple[Word, ...]]:
    """The words of every slot that has a list."""
    found: dict[str, tuple[Word, ...]] = {}
    slot, kind = "", ""
    for line in (FOLDER / "everyday_words.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            slot, kind = line.strip("[]").split()
        elif line and not line.startswith("#"):
            found[slot] = (*found.get(slot, ()), read_word(kind, line))
    return found


@cache
def patterns() -> tuple[str, ...]:
    """The sentence patterns, `English = Chinese`."""
    lines = (FOLDER / "everyday.txt").read_text("utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def draw_word(rng: random.Random, slot: str) -> Word:
    """A word of the slot, and the number where it is counted."""
    if slot in RANGES:
        number = str(draw(rng, False, *RANGES[slot]))
        return Word("plain", (number,), (number,))
    if slot in PERSONS and rng.random() < NAMES_SHARE:
        name = value(rng, "name", False)
        him, his, its = rng.choice((("him", "his", "他的"), ("her", "her", "她的")))
        return Word("who", (name[0], him, his), (name[1], its))
    if slot not in lists() and slot not in PERSONS:
        both = value(rng, slot, False)
        return Word("plain", both[:1], both[1:])
    people = lists()["who"]
    found = tuple(w for w in people if w.english[0] not in US) if slot == "other" else lists()[slot]
    word = rng.choice(found)
    return Word(word.kind, word.english, word.chinese, draw(rng, False, 2, 12))


def slots(field: str) -> tuple[str, list[str]]:
    """A field's form, and its slot with the slot of the quality before it if any."""
    form, *found = field.split()
    return (form, found) if found else ("", [form])


def filled(rng: random.Random, pattern: str) -> Pair:
    """The pattern in both languages, with words in its fields."""
    drawn: dict[str, Word] = {}
    for field in FIELD.findall(pattern):
        for slot in slots(field)[1]:
            if slot in drawn:
                continue
            taken = {word.english[0] for word in drawn.values()}
            word = draw_word(rng, slot.rstrip("23"))
            while word.english[0] in taken:
                word = draw_word(rng, slot.rstrip("23"))
            drawn[slot] = word

    def english(match: re.Match[str]) -> str:
        form, found = slots(match[1])
        quality = drawn[found[0]].english[0] if len(found) > 1 else ""
        return in_english(form, drawn[found[-1]], quality)

    def chinese(match: re.Match[str]) -> str:
        form, found = slots(match[1])
        quality = drawn[found[0]].chinese[0] if len(found) > 1 else ""
        return in_chinese(form, drawn[found[-1]], quality)

    first, second = pattern.split(" = ")
    text = capital(FIELD.sub(english, first))
    text = re.sub(r"[.?!] \w", lambda match: match[0].upper(), text)
    return text, FIELD.sub(chinese, second)


def sentence(rng: random.Random) -> Pair:
    """A sentence of daily life in both languages."""
    return filled(rng, rng.choice(patterns()))


def contracted(sentence: str) -> str:
    """An English sentence as people write it in a hurry."""
    for pattern, short in SHORT:
        sentence = pattern.sub(short, sentence)
    return sentence


def polite(sentence: str) -> str:
    """A Chinese sentence as it is said to a stranger."""
    return sentence if "你们" in sentence else sentence.replace("你", "您")
