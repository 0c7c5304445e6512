"""The values of everyday notes: times, amounts and names, in the manner of one note.

Names and numbers come from `values`, so what is held out stays out.
It must not know which sentences the values stand in.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from . import shop, values, words
from .desk import MAKERS as RECORD
from .note_words import (
    ALLERGENS,
    AREAS,
    COLOURS,
    COURSES,
    DEGREES,
    DISHES,
    HOURS_EN,
    HOURS_ZH,
    INSIDE,
    MATERIALS,
    ROOMS,
    SERVICES,
    SPOKEN,
    SPOKEN_DAYS,
    SPOKEN_MINUTES,
    TASTES,
    VIEWS,
)
from .policies import DOCUMENTS
from .values import Maker
from .words import Pair


@dataclass(frozen=True)
class Manner:
    """How one note writes times of day and money, and how high its prices are."""

    clock: str
    money: str
    low: int
    high: int


def manner(rng: random.Random, lang: int) -> Manner:
    """The manner of a note."""
    clocks = ("24", "24", "024", "12", "bare", "bare", "han") if lang else (
        "24", "24", "024", "12", "12", "12tight", "bare", "bare", "words"
    )  # fmt: skip
    coins = ("{}元", "{}元", "{}元", "¥{}", "${}", "{}块", "{}美元", "{}欧元") if lang else (
        "${}", "${}", "€{}", "£{}", "{} €", "{} dollars", "{} dollars", "{} yuan", "¥{}", "{} euros"
    )  # fmt: skip
    low, high = rng.choice(((2, 40), (5, 100), (10, 500), (100, 3000)))
    return Manner(rng.choice(clocks), rng.choice(coins), low, high)


def clock(rng: random.Random, lang: int, half_hours: int, style: str) -> str:
    """A time of day; some are no half hours."""
    hour, half = divmod(half_hours, 2)
    if style == "words":
        name = HOURS_EN[hour % 12]
        return f"half past {name}" if half else name
    if style == "han":
        noon = "早上" if hour < 11 else "中午" if hour < 13 else "下午" if hour < 18 else "晚上"
        return f"{noon}{HOURS_ZH[hour % 12]}点{'半' if half else ''}"
    if style == "bare":
        if lang:
            return f"{hour}点{'半' if half else ''}"
        shown = (hour - 1) % 12 + 1
        return f"{shown}:30" if half else str(shown)
    if style in ("24", "024") and rng.random() < 0.15:
        return f"{hour:02d}:{rng.choice((15, 45, 10, 20, 50))}"
    return shop.clock(half_hours, style)[lang]


SPANS = {
    "o": (12, 22),
    "c": (31, 46),
    "l": (23, 25),
    "k": (26, 29),
    "i": (26, 34),
    "u": (18, 24),
    "b": (12, 16),
    "e": (18, 23),
}


def amounts(rng: random.Random, count: int, manner: Manner) -> list[str]:
    """Amounts of money that rise."""
    found: list[str] = []
    low, high = manner.low, manner.high
    for _ in range(count):
        whole = shop.draw(rng, False, low, high)
        cents = f".{shop.draw(rng, False, 10, 99)}" if rng.random() < 0.25 else ""
        found.append(manner.money.format(f"{whole}{cents}"))
        low, high = whole + 1, 3 * whole + 20
    return found


def _number(low: int, high: int, unit: Pair = ("", "")) -> Maker:
    return lambda rng, lang, held: f"{shop.draw(rng, held, low, high)}{unit[lang]}"


def _days(rng: random.Random, lang: int, held: bool) -> str:
    kind = rng.random()
    if kind < 0.6:
        return values.days(rng, lang, held)
    if kind < 0.8:
        low = rng.randint(1, 8)
        return f"{low}-{low + rng.randint(1, 6)}{'天' if lang else ' days'}"
    return rng.choice(SPOKEN_DAYS)[lang]


def _minutes(rng: random.Random, lang: int, held: bool) -> str:
    if rng.random() < 0.15:
        return rng.choice(SPOKEN_MINUTES)[lang]
    return f"{shop.draw(rng, held, 5, 90)}{'分钟' if lang else ' minutes'}"


def _site(rng: random.Random, lang: int, held: bool) -> str:
    ending = rng.choice(("com", "net", "org", "cn", "shop", "info"))
    return f"{rng.choice(('www.', ''))}{shop.letters(rng, rng.randint(2, 3))}.{ending}"


def _size(rng: random.Random, lang: int, held: bool) -> str:
    sides = [str(shop.draw(rng, held, 3, 240)) for _ in range(rng.choice((1, 2, 3)))]
    if lang:
        return rng.choice(("x", "×")).join(sides) + rng.choice(("厘米", "cm"))
    return rng.choice((" x ", "x", " by ")).join(sides) + " cm"


def _weight(rng: random.Random, lang: int, held: bool) -> str:
    unit = rng.choice((("kg", "公斤"), ("kg", "千克"), ("g", "克"), ("pounds", "斤")))[lang]
    return f"{shop.draw(rng, held, 2, 900)}{'' if lang else ' '}{unit}"


def _fact(topic: str) -> Maker:
    return lambda rng, lang, held: shop.fact(rng, held, topic, lang, "$", ("-", "-"))[lang]


def _network(rng: random.Random, lang: int, held: bool) -> str:
    return values.latin(rng, 1, 2) + rng.choice(("", "-Guest", "_WiFi", "5G", "Net", "-Free"))


MAKERS: dict[str, Maker] = {
    "days": _days,
    "date": values.date,
    "day": lambda rng, lang, held: rng.choice(words.DAYS)[lang],
    "person": values.person,
    "phone": _fact("phone"),
    "email": _fact("email"),
    "street": values.street,
    "site": _site,
    "code": values.code,
    "place": values.place,
    "name": RECORD["carrier"],
    "net": _network,
    "key": lambda rng, lang, held: shop.letters(rng, 2) + str(shop.draw(rng, held, 10, 9999)),
    "spot": lambda rng, lang, held: rng.choice(words.PARKING)[lang],
    "inside": INSIDE,
    "proof": DOCUMENTS,
    "num": _number(2, 60),
    "few": _number(2, 30),
    "age": _number(3, 21),
    "pct": _number(3, 40, ("%", "%")),
    "min": _minutes,
    "year": values.year,
    "lang": SPOKEN,
    "allergen": ALLERGENS,
    "colour": COLOURS,
    "material": MATERIALS,
    "pay": lambda rng, lang, held: rng.choice(words.PAYMENTS)[lang],
    "size": _size,
    "weight": _weight,
    "cal": _number(90, 990),
    "ext": _number(10, 999),
}


def drawn(
    rng: random.Random, lang: int, fields: list[str], manner: Manner, known: dict[str, str]
) -> dict[str, str]:
    """A value for each field that is not known; `pay2` is another one than `pay`."""
    found = dict(known)
    money = sorted(f for f in fields if f.startswith("money"))
    found.update(zip(money, amounts(rng, len(money), manner), strict=True))
    for field in sorted(fields):
        base = field.rstrip("0123456789")
        if field in found:
            continue
        if base in SPANS:
            found[field] = clock(rng, lang, rng.randint(*SPANS[base]), manner.clock)
            continue
        others = {v for f, v in found.items() if f.rstrip("0123456789") == base}
        while True:
            value = MAKERS[base](rng, lang, False)
            # "From Monday to Friday" or "from 3 May to 9 May", never both in one.
            alike = all(any(map(str.isdigit, v)) == any(map(str.isdigit, value)) for v in others)
            if value not in others and (alike or base != "date"):
                break
        found[field] = value
    return found


def _paired(first: tuple[Pair, ...], second: tuple[Pair, ...], share: float) -> Maker:
    def make(rng: random.Random, lang: int, held: bool) -> str:
        noun = rng.choice(second)[lang]
        if rng.random() > share:
            return noun
        return f"{rng.choice(first)[lang]}{'' if lang else ' '}{noun}"

    return make


def _product(rng: random.Random, lang: int, held: bool) -> str:
    """A thing whose name is no plural, and in Chinese does not run into the number after it."""
    while True:
        text = values.product(rng, lang, held)
        if not (text[-1].isdigit() if lang else text.endswith("s")):
            return text


def _dish(rng: random.Random, lang: int, held: bool) -> str:
    noun, taste = rng.choice(DISHES)[lang], rng.choice(TASTES)[lang]
    if rng.random() < 0.35:
        make = values.han if lang else values.latin
        taste = values.name(rng, held, lambda: make(rng, 1, 2))
    return f"{taste}{noun}" if lang else f"{taste} {noun}"


def _room(rng: random.Random, lang: int, held: bool) -> str:
    if rng.random() < 0.3:
        make = values.han if lang else values.latin
        called = values.name(rng, held, lambda: make(rng, 1, 2))
        return f"{called}房" if lang else f"{called} room"
    return _paired(VIEWS, ROOMS, 0.6)(rng, lang, held)


def _order(rng: random.Random, lang: int, held: bool) -> str:
    while len(code := values.code(rng, lang, held)) < 3:
        pass
    return code


SUBJECTS: dict[str, Maker] = {
    "product": _product,
    "dish": _dish,
    "service": _paired(DEGREES, SERVICES, 0.4),
    "course": lambda rng, lang, held: rng.choice(COURSES)[lang],
    "room": _room,
    "area": lambda rng, lang, held: rng.choice(AREAS)[lang],
    "order": _order,
}


def noun(name: str, lang: int) -> str:
    """The common thing that a product's name ends with, where the name is more than that."""
    things = (pair[lang] if lang else f" {pair[0]}" for pair in words.THINGS)
    return max((t for t in things if name.endswith(t) and name != t), key=len, default="").strip()


def sibling(rng: random.Random, name: str, lang: int) -> str:
    """Another product of the same kind."""
    thing, quality = noun(name, lang), rng.choice(words.QUALITIES)[lang]
    return f"{quality}{'' if lang else ' '}{thing}" if thing else ""


def subjects(rng: random.Random, lang: int, thing: str, count: int) -> list[str]:
    """Different things, none of whose names is a part of another's."""
    found: list[str] = []
    while len(found) < count:
        name = SUBJECTS[thing](rng, lang, False)
        if not any(name in other or other in name for other in found):
            found.append(name)
    return found


def week(rng: random.Random, lang: int) -> list[tuple[str, tuple[str, ...]]]:
    """The runs of equal days: how each is written, and what a customer calls it."""
    full = rng.random() < 0.5
    link = rng.choice(("至", "到", "-") if lang else (" to ", "-", "–", " - "))
    day = "星期" if lang and rng.random() < 0.4 else "周"
    found = []
    for first, last in rng.choice(shop.RUNS[1:]):
        names = [words.DAYS[i][lang].replace("周", day) for i in range(first, last + 1)]
        short = names if lang or full else [name[:3] for name in names]
        called = list(names)
        written = short[0] if first == last else f"{short[0]}{link}{short[-1]}"
        if (first, last) == (5, 6):
            called.append("周末" if lang else "the weekend")
            written = rng.choice((written, "周末" if lang else "Weekends"))
        elif (first, last) == (0, 4):
            called.append("工作日" if lang else "weekdays")
            written = rng.choice((written, "工作日" if lang else "Weekdays"))
        found.append((written, tuple(called)))
    return found
