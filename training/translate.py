"""Makes sentences to translate, both ways: from patterns, from the shop, from a file of pairs.

It must not know what a tokenizer or a model is.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from . import everyday, pairs, phrases_en, phrases_zh, words
from .chat import Conversation, Turn, capital
from .fields import plural, value
from .shop import PHRASES, any_thing, expand, make_shop
from .words import Pair, with_article
from .world import agree

APP = ("Translate into Chinese{terms}: {s}", "翻译成英语{terms}：{s}")
TERMS = ((" ({})", "; "), ("（{}）", "；"))
SYSTEMS = (
    "Translate into Chinese. Reply with the translation only.",
    "翻译成英文。只输出译文。",
)
EVERYDAY_SHARE = 0.35  # of the patterns, where nothing held is wanted
MANNER_SHARE = 0.3  # of the texts that training has translated are in a hurry, or polite
FIELD = re.compile(r"\{(\w+)\}")


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
    first = any_pattern(rng, held, new)
    if rng.random() < 0.15:
        second = any_pattern(rng, held, new)
        return (f"{first[0]} {second[0]}", first[1] + second[1]), "pattern"
    return first, "pattern"


def any_pattern(rng: random.Random, held: bool, new: bool) -> Pair:
    """A sentence of a pattern; training draws from those of daily life too."""
    if not (held or new) and rng.random() < EVERYDAY_SHARE:
        return everyday.sentence(rng)
    return from_pattern(rng, held, new)


def with_terms(rng: random.Random, source: int, held: bool, new: bool) -> tuple[Pair, str]:
    """A sentence with a thing that only the given glossary knows, and the glossary."""
    terms: dict[str, str] = {}
    both: Pair = ("", "")
    for _ in range(20):
        both = from_pattern(rng, held, new, terms)
        if terms:
            break
    if rng.random() < 0.3 or not terms:  # a glossary is never empty
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
        if not (held or new) and rng.random() < MANNER_SHARE:
            text = everyday.polite(text) if source else everyday.contracted(text)
        if form <= 0.65:
            text = APP[source].format(terms=terms, s=text)
        elif form >= 0.9:
            text = expand(rng, rng.choice(phrases.TRANSLATE)).format(s=text)
        chat.turns.append(Turn(f"translate_{kind}", lang, text, both[lang]))
    return chat
