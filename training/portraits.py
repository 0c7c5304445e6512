"""Short texts that describe one thing or person, or two, as an encyclopedia or the news do, and
questions about what they tell, by name, by pronoun or by kind. For training only.

The sheets: `sentences/stories/kinds.txt` lists what is described and by which attributes,
`portraits_*.txt` holds each attribute's sentences. It must not know what a tokenizer or a model is.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache

from .chat import Conversation, capital
from .shop import expand, expansions
from .stories import FOLDER, UNSAID_SHARE, VALUES, Ask, dialogue, idle, listed, named, sheet
from .words import with_article

LISTED_SHARE = 0.1  # of the portraits are a name and `label: value` lines
BACKWARDS_SHARE = 0.12  # of the questions give the value and ask for the name
FORMS = (
    {"it": ("it", "its"), "he": ("he", "his"), "she": ("she", "her")},
    {"it": ("它", "它的"), "he": ("他", "他的"), "she": ("她", "她的")},
)
NOBODY = ("it",)
OBJECTS = {"he": "him", "she": "her"}
# Where a person's pronoun is no subject: not after a verb that helps, nor in "the person {n} met".
NO_SUBJECT = re.compile(r"(?<!did )(?<!does )(?<!was )(?<!is )(?<!has )(?<!can )(?<!person ){n}")


@dataclass(frozen=True)
class Kind:
    """What may be described: its noun and how it is named, a pair each, and its attributes."""

    nouns: tuple[str, str]
    names: tuple[str, str]
    attributes: tuple[str, ...]


@dataclass(frozen=True)
class Attribute:
    """How one attribute is told and asked for in one language."""

    makes: str
    label: str
    says: tuple[str, ...]
    opens: tuple[str, ...]
    asks: tuple[str, ...]
    clashes: tuple[str, ...]


@dataclass(frozen=True)
class Portrait:
    """One thing or person, and what is told of it."""

    kind: Kind
    name: str
    sex: str
    told: dict[str, str]


@cache
def kinds() -> tuple[Kind, ...]:
    """All that may be described."""
    found = []
    for line in (FOLDER / "kinds.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            noun, noun_zh, name, name_zh, attributes = listed(line)
            found.append(Kind((noun, noun_zh), (name, name_zh), tuple(attributes.split())))
    return tuple(found)


@cache
def attributes(lang: int) -> dict[str, Attribute]:
    """All attributes by name."""
    found = {}
    for name, lines in sheet("portraits", lang).items():
        by = {mark: tuple(text for m, text in lines if m == mark) for mark in "=:+<?!"}
        clashes = tuple(word for text in by["!"] for word in text.split())
        label = by[":"][0]
        found[name] = Attribute(by["="][0], label, by["+"], by["<"], by["?"], clashes)
    return found


def value(rng: random.Random, attribute: Attribute, lang: int) -> str:
    """A value for an attribute: made, or one of its list."""
    if maker := VALUES.get(attribute.makes):
        return maker(rng, lang, False)
    return rng.choice(listed(attribute.makes))


def portrait(rng: random.Random, kind: Kind, lang: int, others: list[Portrait]) -> Portrait:
    """One of a kind, with values that none of the others has."""
    table = attributes(lang)
    told: dict[str, str] = {}
    for name in rng.sample(kind.attributes, min(len(kind.attributes), rng.randint(2, 6))):
        if not clash(name, told, lang):
            made = value(rng, table[name], lang)
            if all(made != other.told.get(name) for other in others):
                told[name] = made
    if not told:
        told[kind.attributes[0]] = value(rng, table[kind.attributes[0]], lang)
    sex = rng.choice(("he", "she")) if kind.names[0] == "person" else "it"
    return Portrait(kind, new_name(rng, kind, lang, others), sex, told)


def new_name(rng: random.Random, kind: Kind, lang: int, others: list[Portrait]) -> str:
    """A name for one of this kind that none of the others has."""
    make = VALUES.get(kind.names[lang]) or named(*kind.names)
    while True:
        name = make(rng, lang, False)
        if all(name != other.name for other in others):
            return name


def clash(name: str, told: dict[str, str], lang: int) -> bool:
    """Whether something told could be taken for this attribute."""
    return any(other in clashing(lang)[name] for other in told)


@cache
def clashing(lang: int) -> dict[str, frozenset[str]]:
    """For each attribute those that clash with it: as the sheet says, or by a common question."""
    table = attributes(lang)
    asks = {name: {q for ask in one.asks for q in expansions(ask)} for name, one in table.items()}
    return {
        name: frozenset(
            other
            for other in table
            if other != name
            and (
                other in table[name].clashes
                or name in table[other].clashes
                or asks[name] & asks[other]
            )
        )
        for name in table
    }


# --- telling -----------------------------------------------------------------------------------


def phrase(rng: random.Random, one: Portrait, name: str, lang: int) -> str:
    """What is told of an attribute, without its subject."""
    text = expand(rng, rng.choice(attributes(lang)[name].says))
    return put(text, one, one.told[name], lang)


def put(text: str, one: Portrait, made: str, lang: int) -> str:
    """The value, and the pronouns of what is described."""
    he, his = FORMS[lang][one.sex]
    text = text.replace("{a}", with_article(made)).replace("{v}", made)
    return text.replace("{his}", his).replace("{he}", he)


def by_kind(one: Portrait, lang: int) -> str:
    """The thing, called by its kind."""
    return f"这{one.kind.nouns[1]}" if lang else f"the {one.kind.nouns[0]}"


def later(rng: random.Random, one: Portrait, lang: int) -> str:
    """What is described, as it is called after it was named."""
    kind = rng.random()
    return FORMS[lang][one.sex][0] if kind < 0.6 else by_kind(one, lang) if kind < 0.8 else one.name


def told_sentences(rng: random.Random, one: Portrait, lang: int) -> list[str]:
    """The portrait in sentences of one to three attributes."""
    table = attributes(lang)
    left = list(one.told)
    found: list[str] = []
    while left:
        subject = later(rng, one, lang) if found else one.name
        some, left = left[: (many := rng.choice((1, 1, 2, 2, 3)))], left[many:]
        opening = ""
        if len(some) > 1 and (opens := table[some[0]].opens) and rng.random() < 0.6:
            opening = put(expand(rng, rng.choice(opens)), one, one.told[some[0]], lang)
            some = some[1:]
        said = [phrase(rng, one, name, lang) for name in some]
        make = chinese_sentence if lang else english_sentence
        found.append(make(rng, one, subject, opening, said, not found))
    return found


def english_sentence(
    rng: random.Random, one: Portrait, subject: str, opening: str, said: list[str], first: bool
) -> str:
    """One English sentence; the first may say what it is."""
    noun, person = with_article(one.kind.nouns[0]), one.sex not in NOBODY
    if opening:
        body = f"{opening}, {subject} {joined(said)}"
    elif first and rng.random() < 0.4:
        who = rng.choice(("who", "that")) if person else rng.choice(("which", "that"))
        body = f"{subject} is {noun} {who} {joined(said)}"
    elif first and len(said) > 1 and rng.random() < 0.5:
        who = "who" if person else "which"
        body = f"{subject}, {who} {said[0]}, {joined(said[1:])}"
    elif first and rng.random() < 0.3:
        body = f"{subject}, {noun}, {joined(said)}"
    else:
        body = f"{subject} {joined(said)}"
    return f"{capital(body)}."


def joined(said: list[str]) -> str:
    """Phrases in a row."""
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"


def chinese_sentence(
    rng: random.Random, one: Portrait, subject: str, opening: str, said: list[str], first: bool
) -> str:
    """One Chinese sentence; the first may say what it is."""
    body = "，".join(said)
    if opening:
        return f"{opening}{subject}{body}。"
    if first and rng.random() < 0.45:
        return f"{subject}是一{one.kind.nouns[1]}，{body}。"
    return f"{subject}{body}。"


def label_lines(one: Portrait, lang: int) -> list[str]:
    """The portrait as a name and a list."""
    colon = "：" if lang else ": "
    lines = [f"{attributes(lang)[name].label}{colon}{made}" for name, made in one.told.items()]
    return ["\n".join([capital(one.name), *lines])]


# --- asking ------------------------------------------------------------------------------------


def asked(
    rng: random.Random, one: Portrait, name: str, called: str, lang: int, loosely: bool = False
) -> str:
    """The question for an attribute of what is called so; `loosely`, it may go unnamed."""
    text = ""
    while "{n" not in text and not (text and loosely):
        text = expand(rng, rng.choice(attributes(lang)[name].asks))
    own = FORMS[lang][one.sex]
    owner = own[1] if called == own[0] else f"{called}的" if lang else f"{called}'s"
    if not lang and one.sex in OBJECTS and called == own[0]:
        text = NO_SUBJECT.sub(OBJECTS[one.sex], text)
    text = text.replace("{n's}", owner).replace("{n}", called).replace("{his}", own[1])
    return capital(text)


def backwards(rng: random.Random, one: Portrait, name: str, made: str, lang: int) -> str:
    """The question whose attribute has this value."""
    said = put(expand(rng, rng.choice(attributes(lang)[name].says)), one, made, lang)
    if one.sex not in NOBODY:
        return f"谁{said}？" if lang else f"Who {said}?"
    return f"哪{one.kind.nouns[1]}{said}？" if lang else f"Which {one.kind.nouns[0]} {said}?"


def ask(rng: random.Random, all_told: list[Portrait], lang: int) -> Ask:
    """A question about one of the portraits, or about what none of them tells."""
    one = rng.choice(all_told)
    rivals = [other for other in all_told if other is not one]
    unsaid = rng.random() < UNSAID_SHARE
    called = one.name
    if rng.random() < 0.5 and not (rivals and one.kind in [other.kind for other in rivals]):
        called = by_kind(one, lang) if rivals else later(rng, one, lang)
    if rng.random() < BACKWARDS_SHARE:
        name = rng.choice(list(one.told))
        if not unsaid:
            answer = one.name.removeprefix("the ")
            return Ask(backwards(rng, one, name, one.told[name], lang), answer)
        made = value(rng, attributes(lang)[name], lang)
        if all(made != other.told.get(name) for other in all_told):
            return Ask(backwards(rng, one, name, made, lang), None)
    if unsaid:
        missing = [
            name
            for name in one.kind.attributes
            if name not in one.told and not clash(name, one.told, lang)
        ]
        rivalled = [name for name in missing if any(name in other.told for other in rivals)]
        if missing and rng.random() < 0.7:
            name = rng.choice(rivalled if rivalled and rng.random() < 0.6 else missing)
            return Ask(asked(rng, one, name, called, lang, not rivals), None)
        name = rng.choice(list(one.told))
        stranger = new_name(rng, one.kind, lang, all_told)
        return Ask(asked(rng, one, name, stranger, lang), None)
    name = rng.choice(list(one.told))
    return Ask(asked(rng, one, name, called, lang, not rivals), one.told[name])


def portrait_conversation(rng: random.Random, lang: int) -> Conversation:
    """Up to seven questions about a text that describes one thing or two."""
    all_told: list[Portrait] = []
    kind = rng.choice(list(kinds()))
    for number in range(rng.choice((1, 1, 1, 2, 2))):
        if number and rng.random() < 0.35:
            kind = rng.choice(list(kinds()))
        all_told.append(portrait(rng, kind, lang, all_told))
    rows = rng.random() < LISTED_SHARE
    parts = [
        sentence
        for one in all_told
        for sentence in (label_lines(one, lang) if rows else told_sentences(rng, one, lang))
    ]
    asks = [ask(rng, all_told, lang) for _ in range(rng.choice((1, 2, 3, 4, 5, 6, 7)))]
    if rows:
        parts = ["\n\n".join(parts)]
    return dialogue(rng, parts if rows else idle(rng, parts, lang), asks, lang)
