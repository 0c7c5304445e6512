"""Makes sentences to translate, both ways: from patterns, from the shop, from a file of pairs.

It must not know what a tokenizer or a model is.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from . import pairs, phrases_en, phrases_zh, values, words
from .chat import Conversation, Turn, capital
from .shop import PHRASES, any_thing, clock, draw, expand, make_shop
from .words import Pair
from .world import PLURAL, agree

APP = ("Translate into Chinese{terms}: {s}", "翻译成英语{terms}：{s}")
TERMS = ((" ({})", "; "), ("（{}）", "；"))
SYSTEMS = (
    "Translate into Chinese. Reply with the translation only.",
    "翻译成英文。只输出译文。",
)
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
FIELD = re.compile(r"\{(\w+)\}")


def with_article(name: str) -> str:
    """The name with `a` or `an`."""
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"


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
    if field == "job":
        index = rng.random()
        both = [values.job(random.Random(index), lang, held) for lang in (0, 1)]
        return both[0], both[1]
    if field == "hobby":
        index = rng.random()
        both = [values.hobby(random.Random(index), lang, held) for lang in (0, 1)]
        return both[0], both[1]
    text = values.code(rng, 0, held)
    return text, text


def from_pattern(
    rng: random.Random, held: bool, new: bool, terms: dict[str, str] | None = None
) -> Pair:
    """A sentence of a pattern in both languages. With `terms`, a thing of the sentence may become
    one that nobody knows, and its translation is put into `terms`."""
    english, chinese = rng.choice(pairs.kept() if new else pairs.known()).split(" = ")
    known: dict[str, Pair] = {}
    for field in FIELD.findall(english + chinese):
        base = field.removeprefix("a_").removesuffix("_c").lower()
        base = "thing" if base == "things" else base
        if base in known:
            continue
        known[base] = value(rng, base, held)
        if terms is not None and base in ("goods", "thing", "food") and rng.random() < 0.5:
            known[base] = any_thing(rng, held)
            terms[known[base][0]] = known[base][1]
    found_en = {}
    for field in FIELD.findall(english):
        base = field.removeprefix("a_").removesuffix("_c").lower()
        text = known["thing" if base == "things" else base][0]
        if field.startswith("a_"):
            text = with_article(text)
        if field == "things" and not terms:
            text = plural(text)
        found_en[field] = capital(text) if field.endswith("_c") or field[0].isupper() else text
    return (
        capital(english.format(**found_en)),
        chinese.format(**{base: both[1] for base, both in known.items()}),
    )


def shop_sentence(rng: random.Random, held: bool) -> tuple[str, str]:
    """A shop sentence in both languages."""
    lang = rng.randrange(2)
    shop = make_shop(rng, held, lang, 0.6)
    kind = rng.choice(("fact", "fact_ask", "price", "price_ask", "stock", "order", "hours", "talk"))
    en, zh = phrases_en, phrases_zh
    if kind in ("fact", "fact_ask") and shop.facts:
        topic, value = rng.choice(list(shop.facts.items()))
        key = "ask" if kind == "fact_ask" else "reply"
        return _first(en.TOPICS[topic][key], zh.TOPICS[topic][key], v=value)
    goods = [p for p in shop.products if p.common]
    if kind in ("price", "price_ask", "stock") and goods:
        p = rng.choice(goods)
        if kind == "stock":
            a, b = en.STOCK[p.state][1], zh.STOCK[p.state][1]
            return _first(a, b, name=p.name, n=(p.count, p.count), date=p.date)
        key = "price" if kind == "price_ask" else "price_reply"
        both = _first(en.PRODUCT[key], zh.PRODUCT[key], name=p.name, price=p.price)
        return agree(both[0], p.name[0]), both[1]
    if kind == "order" and shop.orders:
        o = rng.choice(shop.orders)
        a, b = en.STATES[o.state][1], zh.STATES[o.state][1]
        return _first(a, b, id=(o.number, o.number), date=o.date)
    if kind == "hours" and shop.hours:
        index = rng.randrange(7)
        entry, day = shop.hours.days[index], words.DAYS[index]
        if entry:
            key = rng.choice(("open_reply", "close_reply", "day_reply"))
            return _first(en.HOURS[key], zh.HOURS[key], day=day, a=entry[0], b=entry[1])
        return _first(en.HOURS["closed_reply"], zh.HOURS["closed_reply"], day=day)
    topic = rng.choice(("greet", "thanks", "how", "bye"))
    return _first(en.TALK[topic]["reply"], zh.TALK[topic]["reply"])


def _first(
    english: tuple[str, ...], chinese: tuple[str, ...], **values: tuple[str, ...]
) -> tuple[str, str]:
    rng = FirstChoice()
    return (
        expand(rng, english[0]).format(**{k: v[0] for k, v in values.items()}),
        expand(rng, chinese[0]).format(**{k: v[1] for k, v in values.items()}),
    )


class FirstChoice(random.Random):
    """A source of chance that always takes the first option."""

    def choice(self, seq):  # type: ignore[no-untyped-def]
        return seq[0]


def sentence(
    rng: random.Random, held: bool, new: bool, general: Sequence[Pair] = ()
) -> tuple[Pair, str]:
    """One or two sentences in both languages, and where they come from."""
    if general and rng.random() < 0.3:
        return rng.choice(general), "general"
    if not new and rng.random() < 0.25:
        return shop_sentence(rng, held), "shop"
    first = from_pattern(rng, held, new)
    if rng.random() < 0.15:
        second = from_pattern(rng, held, new)
        return (f"{first[0]} {second[0]}", first[1] + second[1]), "pattern"
    return first, "pattern"


def with_terms(rng: random.Random, source: int, held: bool, new: bool) -> tuple[Pair, str]:
    """A sentence with a thing that only the given glossary knows, and the glossary."""
    terms: dict[str, str] = {}
    both: Pair = ("", "")
    for _ in range(20):
        both = from_pattern(rng, held, new, terms)
        if terms:
            break
    if rng.random() < 0.3:
        other = any_thing(rng, held)
        terms.setdefault(other[0], other[1])
    frame, gap = TERMS[source]
    listed = gap.join(f"{b} = {a}" if source else f"{a} = {b}" for a, b in terms.items())
    return both, frame.format(listed)


def translation(
    rng: random.Random,
    lang: int,
    held: bool = False,
    new: bool = False,
    general: Sequence[Pair] = (),
    turns: int | None = None,
    canonical: bool | None = None,
) -> Conversation:
    """One to five texts to translate; `lang` is the language that is translated into."""
    source = 1 - lang
    phrases = PHRASES[source]
    form = rng.random() if canonical is None else 0.0
    system = ""
    if form > 0.65:
        system = (
            SYSTEMS[source] if form < 0.8 else expand(rng, rng.choice(phrases.TRANSLATE_SYSTEM))
        )
    chat = Conversation(system if form < 0.9 else "")
    for _ in range(turns or rng.randint(1, 5)):
        terms = ""
        if form <= 0.65 and rng.random() < 0.12:
            both, terms = with_terms(rng, source, held, new)
            kind = "terms"
        else:
            both, kind = sentence(rng, held, new, general)
        text = both[source]
        if form <= 0.65:
            text = APP[source].format(terms=terms, s=text)
        elif form >= 0.9:
            text = expand(rng, rng.choice(phrases.TRANSLATE)).format(s=text)
        chat.turns.append(Turn(f"translate_{kind}", lang, text, both[lang]))
    return chat
