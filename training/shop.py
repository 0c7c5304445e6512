"""Makes one random shop: its hours, products, orders and facts, each value in both languages.

Numbers and names come in two disjoint halves: one for training, one (`held`) for the evaluation.
It must not know how conversations run, or what a tokenizer or a model is.
"""

from __future__ import annotations

import random
import re
import zlib
from dataclasses import dataclass, field

from . import phrases_en, phrases_zh, words
from .words import Pair

LANGUAGES = ("en", "zh")
PHRASES = (phrases_en, phrases_zh)
_CHOICE = re.compile(r"\[([^\[\]]*)\]")


def expand(rng: random.Random, template: str, **values: str) -> str:
    """One sentence of a template: choices are drawn, then the values are put in."""
    text = template
    while match := _CHOICE.search(text):
        text = text[: match.start()] + rng.choice(match[1].split("|")) + text[match.end() :]
    return text.format(**values) if values else text


def expansions(template: str) -> set[str]:
    """Every sentence that a template can become (values are not filled in)."""
    match = _CHOICE.search(template)
    if not match:
        return {template}
    found: set[str] = set()
    for option in match[1].split("|"):
        found |= expansions(template[: match.start()] + option + template[match.end() :])
    return found


def is_held(number: int) -> bool:
    """Whether a number belongs to the half that training never sees (one in five)."""
    return (number * 2654435761 % 2**32) >> 8 & 0xFFFF < 13107


def draw(rng: random.Random, held: bool, low: int, high: int, step: int = 1) -> int:
    """A number from the wanted half; small ranges, which cannot be split, serve both."""
    for _ in range(60):
        number = rng.randrange(low, high + 1, step)
        if is_held(number) == held:
            break
    return number


@dataclass(frozen=True)
class Product:
    """Something for sale. `common` names are made of known words in both languages."""

    name: Pair
    thing: Pair
    price: Pair
    state: str
    count: str
    date: Pair
    common: bool


@dataclass(frozen=True)
class Order:
    """A customer's order; `date` means what its state makes of it."""

    number: str
    state: str
    date: Pair


@dataclass(frozen=True)
class Hours:
    """Opening and closing time by weekday (None: closed), and the runs of equal days."""

    days: tuple[tuple[Pair, Pair] | None, ...]
    runs: tuple[tuple[int, int], ...]


@dataclass
class Shop:
    """Everything that an assistant may know."""

    name: str
    products: list[Product] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    facts: dict[str, Pair] = field(default_factory=dict)
    payments: list[Pair] = field(default_factory=list)
    hours: Hours | None = None


def money(rng: random.Random, held: bool, low: int, high: int, style: str) -> Pair:
    """An amount between `low` and `high` (whole units) in one of the currency styles."""
    if rng.random() < 0.45:
        text = str(draw(rng, held, low, high))
    else:
        cents = draw(rng, held, low * 100, high * 100, rng.choice((5, 10, 50, 1)))
        text = f"{cents // 100}.{cents % 100:02d}"
    if style == "yuan":
        return f"{text} yuan", f"{text}元"
    if style == "dollars":
        return f"{text} dollars", f"{text}美元"
    if style == "euro_after":
        return f"{text} €", f"{text} €"
    return style + text, style + text


def money_style(rng: random.Random, lang: int) -> str:
    """The currency style of a whole shop."""
    if lang:
        return rng.choice(("yuan", "yuan", "yuan", "¥", "¥", "$"))
    return rng.choice(("$", "$", "$", "€", "£", "euro_after", "dollars", "yuan", "¥"))


def made_up(rng: random.Random) -> Pair:
    """A brand that no word list holds."""
    latin = "".join(rng.choice(words.SYLLABLES) for _ in range(rng.choice((2, 2, 3)))).capitalize()
    return latin, "".join(rng.choices(words.ANY_CHARS, k=2))


def is_held_name(text: str) -> bool:
    """Whether a name belongs to the part of the space that training never sees (one in eight)."""
    return zlib.crc32(text.encode()) % 8 == 0


def any_thing(rng: random.Random, held: bool) -> Pair:
    """A name of any words, sense or nonsense: it can be copied, not remembered."""
    for _ in range(100):
        if rng.random() < 0.5:
            latin = rng.choice(words.ANY_WORDS)
        else:
            latin = "".join(
                rng.choice("bcdfghjklmnprstvwz")
                + rng.choice(words.VOWELS)
                + rng.choice(words.CODAS)
                for _ in range(rng.choice((1, 2, 2, 3)))
            )
        han = "".join(rng.choices(words.ANY_CHARS, k=rng.choice((1, 2, 2, 3))))
        if is_held_name(latin) == held and is_held_name(han) == held:
            break
    return latin, han


def product_name(rng: random.Random, held: bool) -> tuple[Pair, Pair, bool]:
    """A product's name, the thing it is, and whether both are common words."""
    things = words.HELD_THINGS if held and rng.random() < 0.6 else words.THINGS
    qualities = words.HELD_QUALITIES if held and rng.random() < 0.3 else words.QUALITIES
    thing = rng.choice(things)
    kind = rng.random()
    if kind < 0.35:
        thing = any_thing(rng, held)
        quality = any_thing(rng, held) if rng.random() < 0.4 else rng.choice(words.QUALITIES)
        return (f"{quality[0]} {thing[0]}", quality[1] + thing[1]), thing, False
    if kind < 0.65:
        quality = rng.choice(qualities)
        return (f"{quality[0]} {thing[0]}", quality[1] + thing[1]), thing, True
    if kind < 0.72:
        return thing, thing, True
    brand = made_up(rng)
    if kind < 0.92:
        return (f"{brand[0]} {thing[0]}", brand[1] + thing[1]), thing, False
    model = f"{rng.choice('ABKMQRSTX')}{draw(rng, held, 2, 900)}"
    return (f"{brand[0]} {model}", brand[1] + model), thing, False


def date(rng: random.Random) -> Pair:
    """A day to come: a weekday or a date."""
    if rng.random() < 0.5:
        return rng.choice(words.DAYS)
    month, day = rng.randrange(12), rng.randint(1, 28)
    return f"{day} {words.MONTHS[month]}", f"{month + 1}月{day}日"


def products(rng: random.Random, held: bool, count: int, style: str) -> list[Product]:
    """Different products; some share their thing or their quality, so that both must be read."""
    low, high = rng.choice(((1, 40), (5, 100), (10, 500), (100, 3000)))
    found: dict[str, Product] = {}
    while len(found) < count:
        name, thing, common = product_name(rng, held)
        if found and rng.random() < 0.35:
            thing = rng.choice(list(found.values())).thing
            quality = rng.choice(words.QUALITIES)
            name = (f"{quality[0]} {thing[0]}", quality[1] + thing[1])
            common = thing in words.THINGS or thing in words.HELD_THINGS
        state = rng.choices(("in", "left", "out", "back"), (4, 3, 2, 2))[0]
        amount = str(draw(rng, held, 2, 60))
        price = money(rng, held, low, high, style)
        found.setdefault(name[0], Product(name, thing, price, state, amount, date(rng), common))
    return list(found.values())


def orders(rng: random.Random, held: bool, count: int) -> list[Order]:
    """Orders whose numbers share one pattern."""
    digits = rng.choice((4, 5, 5, 6, 7, 8))
    prefix = rng.choice(("", "", "", "A", "B", "K", "SO", "OS-", "ZX", "N-"))
    found: dict[str, Order] = {}
    while len(found) < count:
        number = f"{prefix}{draw(rng, held, 10 ** (digits - 1), 10**digits - 1)}"
        state = rng.choices(tuple(phrases_en.STATES), (2, 5, 2, 2, 1, 1))[0]
        found[number] = Order(number, state, date(rng))
    return list(found.values())


def clock(half_hours: int, style: str) -> Pair:
    """A time of day, counted in half hours, in one of the clock styles."""
    hour, half = divmod(half_hours, 2)
    if style == "24":
        text = f"{hour}:{30 * half:02d}"
        return text, text
    if style == "024":
        text = f"{hour:02d}:{30 * half:02d}"
        return text, text
    shown = hour if hour <= 12 else hour - 12
    noon = "上午" if hour < 12 else "中午" if hour == 12 else "下午" if hour < 18 else "晚上"
    gap = " " if style == "12" else ""
    suffix = "am" if hour < 12 else "pm"
    if half:
        return f"{shown}:30{gap}{suffix}", f"{noon}{shown}点半"
    return f"{shown}{gap}{suffix}", f"{noon}{shown}点"


RUNS = (
    ((0, 6),),
    ((0, 4), (5, 5), (6, 6)),
    ((0, 4), (5, 5), (6, 6)),
    ((0, 4), (5, 6)),
    ((0, 5), (6, 6)),
    ((0, 0), (1, 6)),
    ((0, 0), (1, 5), (6, 6)),
    ((0, 3), (4, 4), (5, 6)),
    ((0, 2), (3, 4), (5, 6)),
)


def hours(rng: random.Random) -> Hours:
    """Opening hours with one to three runs of equal days; a short run may be closed."""
    style = rng.choice(("24", "24", "024", "12", "12", "12tight"))
    runs = rng.choice(RUNS)
    days: list[tuple[Pair, Pair] | None] = []
    for first, last in runs:
        opens, closes = rng.randint(12, 23), rng.randint(28, 45)
        if rng.random() < 0.6:
            opens, closes = opens // 2 * 2, closes // 2 * 2
        closed = last - first < 2 and len(runs) > 1 and rng.random() < 0.4
        entry = None if closed else (clock(opens, style), clock(closes, style))
        days += [entry] * (last - first + 1)
    return Hours(tuple(days), runs)


def span(rng: random.Random, held: bool, kind: str, dash: Pair) -> Pair:
    """A length of time that suits the kind of fact."""
    if kind == "warranty":
        if rng.random() < 0.6:
            years = rng.randint(2, 10)
            return f"{years} years", f"{years}年"
        months = rng.choice((3, 6, 9, 12, 15, 18, 24, 30, 36, 48))
        return f"{months} months", f"{months}个月"
    if kind == "returns":
        days = draw(rng, held, 3, 120)
        return f"{days} days", f"{days}天"
    if rng.random() < 0.1:
        many = draw(rng, held, 12, 96)
        return f"{many} hours", f"{many}小时"
    unit = rng.choice((("days", "天"), ("working days", "个工作日"), ("business days", "个工作日")))
    low = rng.randint(2, 9)
    if rng.random() < 0.5:
        return f"{low} {unit[0]}", f"{low}{unit[1]}"
    high = low + rng.randint(1, 5)
    return f"{low}{dash[0]}{high} {unit[0]}", f"{low}{dash[1]}{high}{unit[1]}"


def same(text: str) -> Pair:
    """A value that is written the same in both languages."""
    return text, text


def letters(rng: random.Random, count: int) -> str:
    """A pronounceable word."""
    return "".join(rng.choice(words.SYLLABLES) for _ in range(count))


def person(rng: random.Random, lang: int) -> Pair:
    """A person's name."""
    if lang:
        return same(
            rng.choice(words.SURNAMES_ZH)
            + "".join(rng.choices(words.ANY_CHARS, k=rng.randint(1, 2)))
        )
    return same(f"{letters(rng, 2).capitalize()} {letters(rng, 3).capitalize()}")


def fact(rng: random.Random, held: bool, topic: str, lang: int, style: str, dash: Pair) -> Pair:
    """The value of one single-valued fact."""
    number = draw(rng, held, 10, 999)
    if topic in ("delivery_time", "returns", "refund", "warranty"):
        return span(rng, held, topic, dash)
    if topic in ("delivery_fee", "gift_wrap"):
        return money(rng, held, 1, 25, style)
    if topic == "free_delivery":
        return money(rng, held, 20, 300, style)
    if topic == "student":
        return same(f"{draw(rng, held, 3, 40)}%")
    if topic == "address":
        street = f"{number} {rng.choice(words.STREETS)} {rng.choice(words.STREET_KINDS)}"
        return same(f"{rng.choice(words.STREETS_ZH)}{number}号" if lang else street)
    if topic == "phone":
        a, b, c = (draw(rng, held, 100, 999) for _ in range(3))
        d = draw(rng, held, 1000, 9999)
        forms = (f"{a}-{d}", f"0{a % 90 + 10} {d} {c}", f"{a}-{b}-{d}", f"+{a % 90 + 10} {b} {d}")
        return same(rng.choice((f"400-{a}-{d}", f"0{a}-{b}{d}") if lang else forms))
    if topic == "email":
        user = rng.choice(("help", "info", "hello", "support", "service", "shop", "care"))
        return same(f"{user}@{letters(rng, 2)}.{rng.choice(('com', 'net', 'cn', 'org', 'shop'))}")
    if topic == "coupon":
        return same(f"{letters(rng, 2).upper()}{draw(rng, held, 5, 99)}")
    if topic == "wifi":
        return same(f"{letters(rng, 2)}{number}")
    if topic == "parking":
        return rng.choice(words.PARKING)
    return person(rng, lang)


def shop_name(rng: random.Random, held: bool, lang: int) -> str:
    """The name of a shop."""
    kind = rng.choice(words.SHOP_KINDS)
    if lang:
        return "".join(rng.sample(words.SHOP_CHARS, 2)) + kind[1]
    pool = words.HELD_SHOP_WORDS if held else words.SHOP_WORDS
    form = rng.random()
    if form < 0.3:
        return " & ".join(rng.sample(pool, 2))
    if form < 0.5:
        return made_up(rng)[0]
    return f"{rng.choice(pool)} {kind[0]}"


def make_shop(rng: random.Random, held: bool, lang: int, size: float = 1.0) -> Shop:
    """A shop that mostly writes in one language (0 English, 1 Chinese)."""
    shop = Shop(shop_name(rng, held, lang))
    style = money_style(rng, lang)
    dash = rng.choice((("-", "-"), ("–", "–"), (" to ", "到"), (" to ", "至")))
    if rng.random() < 0.75:
        count = rng.randint(1, max(1, round(6 * size)))
        shop.products = products(rng, held, count, style)
    if rng.random() < 0.35:
        shop.orders = orders(rng, held, rng.randint(1, 3))
    topics = list(phrases_en.TOPICS)
    for topic in rng.sample(topics, rng.randint(0, min(6, round(5 * size)))):
        shop.facts[topic] = fact(rng, held, topic, lang, style, dash)
    if rng.random() < 0.3:
        shop.payments = rng.sample(words.PAYMENTS, rng.randint(1, 4))
    if rng.random() < 0.55:
        shop.hours = hours(rng)
    return shop
