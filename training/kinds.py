"""Which values the kinds of reading matter have: the same for both languages.

It must not know the sentences, or what is asked about them.
"""

from __future__ import annotations

import random
from types import ModuleType

from . import kinds_en, kinds_zh, values
from .values import Maker

TEXTS: tuple[ModuleType, ModuleType] = (kinds_en, kinds_zh)


def _score(rng: random.Random, lang: int, held: bool) -> str:
    return f"{rng.randint(1, 12)}{'比' if lang else '-'}{rng.randint(0, 9)}"


def _few(rng: random.Random, lang: int, held: bool) -> str:
    return str(rng.randint(2, 99))


def _phone(rng: random.Random, lang: int, held: bool) -> str:
    a, b = values.draw(rng, held, 100, 9999), values.draw(rng, held, 1000, 99999)
    return rng.choice((f"{a}-{b}", f"0{a} {b}", f"1{a}{b}"))


def _either(*makers: Maker) -> Maker:
    return lambda rng, lang, held: rng.choice(makers)(rng, lang, held)


SLOTS: dict[str, dict[str, Maker]] = {
    "person": {
        "job": values.job,
        "city": values.place,
        "age": values.age,
        "employer": values.org,
        "hobby": values.hobby,
        "friend": values.person,
    },
    "event": {
        "day": values.date,
        "time": values.time,
        "place": values.venue,
        "host": _either(values.org, values.person),
        "price": values.money,
        "guests": values.number,
    },
    "company": {
        "city": values.place,
        "year": values.year,
        "boss": values.person,
        "staff": values.number,
        "product": values.product,
        "sales": values.money,
    },
    "building": {
        "city": values.place,
        "year": values.year,
        "height": values.metres,
        "architect": values.person,
        "cost": values.money,
        "visitors": values.number,
    },
    "trip": {
        "dest": values.place,
        "day": values.date,
        "transport": values.transport,
        "hotel": values.venue,
        "companion": values.person,
        "days": values.days,
    },
    "accident": {
        "day": values.date,
        "hurt": _few,
        "cause": values.cause,
        "damage": values.money,
        "helper": _either(values.org, values.person),
    },
    "match": {
        "score": _score,
        "winner": _either(values.place, values.person),
        "place": values.venue,
        "scorer": values.person,
        "crowd": values.number,
    },
    "course": {
        "teacher": values.person,
        "room": values.code,
        "day": values.date,
        "fee": values.money,
        "length": values.days,
    },
    "lake": {
        "near": values.place,
        "depth": values.metres,
        "fish": values.fish,
        "owner": _either(values.org, values.person),
        "boats": values.number,
    },
    "ticket": {
        "order": values.code,
        "item": values.product,
        "problem": values.problem,
        "wish": values.wish,
        "phone": _phone,
        "day": values.date,
    },
}
MEETING: dict[str, Maker] = {
    "a": values.person,
    "b": values.person,
    "topic": values.topic,
    "day": values.date,
    "time": values.time,
    "place": values.venue,
    "task": values.task,
}


def subject(rng: random.Random, kind: str, lang: int, held: bool) -> str:
    """The name of what a text of this kind is about."""
    text = TEXTS[lang]
    if kind in ("person", "trip", "ticket"):
        return values.person(rng, lang, held)
    if kind == "company":
        return values.org(rng, lang, held)
    noun = rng.choice(text.NOUNS[kind]) if kind in text.NOUNS else ""

    def make() -> str:
        if kind == "accident":
            x = values.place(rng, lang, held)
        else:
            x = values.han(rng, 1, 3) if lang else values.latin(rng, 1, 3)
        return str(text.OPEN[kind]).format(x=x, kind=noun)

    return values.name(rng, held, make)
