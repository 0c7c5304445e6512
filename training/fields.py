"""The values of the fields that sentence patterns have, in both languages at once.

It must not know any pattern, nor how a sentence becomes a conversation.
"""

from __future__ import annotations

import random

from . import pairs, values, words
from .shop import clock, draw
from .words import Pair
from .world import PLURAL

LISTS = {
    "place": words.pairs(pairs.PLACES),
    "city": words.pairs(pairs.CITIES),
    "food": words.pairs(pairs.FOODS),
    "family": words.pairs(pairs.FAMILY),
    "when": words.pairs(pairs.WHEN),
    "when_past": words.pairs(pairs.WHEN_PAST),
    "when_now": words.pairs(pairs.WHEN_NOW),
    "weather": words.pairs(pairs.WEATHER),
    "temp": words.pairs(pairs.TEMP),
    "bad_room": words.pairs(pairs.BAD_ROOM),
    "room": words.pairs(pairs.ROOMS),
    "pay": words.PAYMENTS,
}
THINGS = tuple(p for p in words.THINGS if not PLURAL.search(p[0]) and p[0] not in ("tea", "coffee"))


def plural(name: str) -> str:
    """The plural of a thing."""
    if name.endswith(("s", "x", "ch", "sh")):
        return name + "es"
    if name.endswith("y") and name[-2] not in "aeiou":
        return name[:-1] + "ies"
    if name.endswith(("knife", "shelf")):
        return name.removesuffix("fe").removesuffix("f") + "ves"
    return name + "s"


def value(rng: random.Random, field: str, held: bool) -> Pair:
    """The value of a pattern's field, in both languages."""
    if field in LISTS:
        return rng.choice(LISTS[field])
    if field == "goods":
        (q_en, q_zh), (t_en, t_zh) = rng.choice(words.QUALITIES), rng.choice(THINGS)
        return (f"{q_en} {t_en}", q_zh + t_zh) if rng.random() < 0.8 else (t_en, t_zh)
    if field == "thing":
        return rng.choice(THINGS)
    if field in ("n", "few"):
        number = draw(rng, held, 2, 9 if field == "few" else rng.choice((60, 300)))
        return str(number), str(number)
    if field == "money":
        amount = f"{draw(rng, held, 2, rng.choice((90, 900, 9000)))}"
        if rng.random() < 0.25:
            amount += f".{draw(rng, held, 10, 99)}"
        unit = rng.choice(
            ((" yuan", "元"), (" yuan", "元"), (" dollars", "美元"), (" euros", "欧元"))
        )
        return amount + unit[0], amount + unit[1]
    if field in ("clock", "clock2"):
        return clock(rng.randint(12, 44), rng.choice(("24", "12", "12")))
    if field == "day":
        if rng.random() < 0.6:
            return rng.choice(words.DAYS)
        month, day = rng.randrange(12), rng.randint(1, 28)
        return f"{words.MONTHS[month]} {day}", f"{month + 1}月{day}日"
    if field in ("name", "name2"):
        text = values.name(rng, held, lambda: values.latin(rng, 1, 3))
        return text, text
    if field in ("job", "hobby"):
        make, index = values.job if field == "job" else values.hobby, rng.random()
        both = [make(random.Random(index), lang, held) for lang in (0, 1)]
        return both[0], both[1]
    text = values.code(rng, 0, held)
    return text, text
