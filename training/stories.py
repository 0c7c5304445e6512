"""What portraits and tales share: their sheets of sentences, values by name, and the conversation.

The sheets stand in `sentences/stories/*.txt`, as `wording.entries` reads them: `[a|b]` is a choice
and `{name}` a value or a person. A sheet's own list of values is `| a | b`.
It must not know which texts are made of them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import doings, values, words
from .chat import Conversation, Turn
from .kinds import TEXTS
from .reading import lay_out, with_text
from .shop import LANGUAGES, draw, expand
from .values import Maker
from .wording import AROUND, entries
from .words import Pair

FOLDER = Path(__file__).parent / "sentences" / "stories"
AROUND_SHARE = 0.08
IDLE_SHARE = 0.15  # of the texts have a sentence that tells nothing
UNSAID_SHARE = 0.38
Sheet = dict[str, list[tuple[str, str]]]


@cache
def sheet(name: str, lang: int) -> Sheet:
    """The headings of a file, each with its marks and lines."""
    found: Sheet = {}
    for heading, mark, line in entries(
        (FOLDER / f"{name}_{LANGUAGES[lang]}.txt").read_text("utf-8")
    ):
        found.setdefault(heading, []).append((mark, line))
    return found


def figure(low: int, high: int, english: str = "", chinese: str = "") -> Maker:
    """A number, with its unit where it has one."""

    def make(rng: random.Random, lang: int, held: bool) -> str:
        number = str(draw(rng, held, low, high))
        return number + chinese if lang else f"{number} {english}".strip()

    return make


def count(rng: random.Random, lang: int, held: bool) -> str:
    """How many, more often as a word."""
    return rng.choice(doings.COUNTS)[lang] if rng.random() < 0.7 else figure(2, 40)(rng, lang, held)


def spell(english: str, chinese: str) -> Maker:
    """A length of time: a count of these."""

    def make(rng: random.Random, lang: int, held: bool) -> str:
        number = count(rng, lang, held)
        return number + chinese if lang else f"{number} {english}"

    return make


def many(rng: random.Random, lang: int, held: bool) -> str:
    """A large number, in figures or rounded."""
    if rng.random() < 0.35:
        number = draw(rng, held, 12, 900)
        return f"{number}万" if lang else f"{number} million"
    number = draw(rng, held, 1100, rng.choice((9000, 90000, 900000)))
    return f"{number:,}" if not lang and rng.random() < 0.4 else str(number)


def either(*makers: Maker) -> Maker:
    """One of several kinds of values."""
    return lambda rng, lang, held: rng.choice(makers)(rng, lang, held)


def one_of(items: tuple[Pair, ...]) -> Maker:
    """A word of a list."""
    return lambda rng, lang, held: rng.choice(items)[lang]


def month_day(rng: random.Random, lang: int, held: bool) -> str:
    """A day of the year."""
    month, day = rng.randrange(12), rng.randint(1, 28)
    return f"{month + 1}月{day}日" if lang else f"{day} {words.MONTHS[month]}"


def month(rng: random.Random, lang: int, held: bool) -> str:
    """A month."""
    number = rng.randrange(12)
    return f"{number + 1}月" if lang else words.MONTHS[number]


def named(english: str, chinese: str) -> Maker:
    """A made-up name in a pattern, `{x}`."""

    def make(rng: random.Random, lang: int, held: bool) -> str:
        def whole() -> str:
            middle = values.han(rng, 1, 3) if lang else values.latin(rng, 1, 3)
            return (chinese if lang else english).replace("{x}", middle)

        return values.name(rng, held, whole)

    return make


VALUES: dict[str, Maker] = {
    "year": values.year,
    "person": values.person,
    "town": values.place,
    "org": values.org,
    "venue": values.venue,
    "money": values.money,
    "date": values.date,
    "clock": values.time,
    "job": values.job,
    "hobby": values.hobby,
    "street": values.street,
    "product": values.product,
    "day": one_of(words.DAYS),
    "birthday": month_day,
    "month": month,
    "n": count,
    "figure": values.number,
    "many": many,
    "age": figure(14, 96),
    "metres": figure(11, 990, "metres", "米"),
    "heights": figure(1100, 8900, "metres", "米"),
    "km": figure(13, 990, "kilometres", "公里"),
    "area": figure(12, 9000, "square kilometres", "平方公里"),
    "kg": figure(12, 900, "kilograms", "公斤"),
    "tons": figure(12, 9000, "tonnes", "吨"),
    "cm": figure(12, 190, "centimetres", "厘米"),
    "speed": figure(15, 400, "kilometres an hour", "公里每小时"),
    "minutes": figure(12, 90, "minutes", "分钟"),
    "degrees": figure(12, 40, "degrees", "度"),
    "pages": figure(60, 900),
    "grams": figure(12, 950, "grams", "克"),
    "river": named("the {x} River", "{x}河"),
    "sea": named("the {x} Sea", "{x}海"),
    "peak": named("Mount {x}", "{x}山"),
    "country": named("{x}land", "{x}国"),
    "language": named("{x}", "{x}语"),
    "coin": named("{x}", "{x}币"),
    "album": named("{x}", "{x}"),
    "prize": named("the {x} Prize", "{x}奖"),
    "years": spell("years", "年"),
    "weeks": spell("weeks", "周"),
    "hours": spell("hours", "个小时"),
    "days": spell("days", "天"),
    "orgperson": either(values.org, values.person),
}


@dataclass(frozen=True)
class Ask:
    """A question; its answer as the text gives it, or None."""

    question: str
    answer: str | None


def turn(rng: random.Random, ask: Ask, lang: int) -> Turn:
    """The question as it is put, now and then with something around it."""
    asked = ask.question
    if rng.random() < AROUND_SHARE:
        asked = expand(rng, rng.choice(AROUND[lang])).replace("{q}", asked)
    if ask.answer is None:
        unsaid = TEXTS[lang].NOT_SAID
        return Turn("answer_none", lang, asked, unsaid, anything_of=(unsaid,))
    value = ask.answer
    return Turn("answer", lang, asked, value, (value,), anything_of=(value,))


def dialogue(rng: random.Random, parts: list[str], asks: list[Ask], lang: int) -> Conversation:
    """The questions about the text whose sentences these are, each once."""
    table = TEXTS[lang]
    canonical = rng.random() < 0.7
    system = rng.choice((table.ANSWER_SYSTEM, *table.ANSWER_SYSTEMS))
    chat = Conversation("" if canonical else system)
    once = {ask.question: ask for ask in asks}
    chat.turns.extend(turn(rng, ask, lang) for ask in once.values())
    with_text(rng, lang, chat, lay_out(rng, parts, lang), canonical)
    return chat


def idle(rng: random.Random, parts: list[str], lang: int) -> list[str]:
    """The sentences, now and then with one more at the end that tells nothing.

    At the end only: a pronoun after it would speak of something else.
    """
    more = [rng.choice(TEXTS[lang].FILLERS)] if rng.random() < IDLE_SHARE else []
    return [*parts, *more]


@cache
def listed(line: str) -> tuple[str, ...]:
    """The items of a list in a sheet."""
    return tuple(item.strip() for item in line.split(" | "))
