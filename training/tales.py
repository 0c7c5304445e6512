"""Short stories of daily life, and questions about what happens in them. For training only.

The sheets are `sentences/stories/tales_*.txt`. A plot is a row of beats, each said in one of
several ways; what a beat tells are slots, and every slot has its questions. Beats after `&` are
shared by plots. A story has one hero and at most one other person of the other sex, so that a
pronoun speaks of one of them only. It must not know what a tokenizer or a model is.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache

from .cast import FIELD, HERO, KIN, OTHER, PEOPLE, Cast, Speaker, cast_of, fields, people
from .chat import Conversation, capital
from .shop import expand
from .stories import UNSAID_SHARE, VALUES, Ask, dialogue, idle, listed, sheet

KEPT, SHARED_KEPT = 0.78, 0.45  # of a plot's own beats, and of those that it shares
ABOUT = "about"  # a shared beat that fits every plot
ABOUT_KEPT, ABOUT_ASKED = 0.3, 0.2  # how often it is told, and how often asked for where it is not


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
        share = ABOUT_KEPT if beat.ways[0] == ABOUT else SHARED_KEPT if beat.shared else KEPT
        if number and rng.random() > share:
            continue
        own = table[f"@{beat.ways[0]}"].beats[0] if beat.shared else beat
        templates.append(rng.choice(list(own.ways)))
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


def asked(
    rng: random.Random,
    one: Tale,
    text: str | None,
    lang: int,
    cast: Cast,
    named: bool,
    slot: str = "",
) -> Ask | None:
    """The question about these people (None where there is no text for it), which the slot's value
    answers, if any; `named`, without pronouns."""
    if not text:
        return None
    speaker = Speaker(rng, cast, lang)
    speaker.met = {"a", "b"}
    pronouns = 0.0 if named or rng.random() < 0.65 else 1.0
    return Ask(capital(speaker.put(text, one.told, pronouns)), one.told.get(slot))


def swapped(rng: random.Random, cast: Cast, lang: int) -> Cast:
    """The hero with other kin, of whom nothing is told."""
    kin = [both[lang] for both in KIN[1 - cast.sex] if cast.kin not in both[lang]]
    return Cast(cast.name, cast.sex, rng.choice([k for k in kin if k not in cast.kin]), None)


def ask(rng: random.Random, all_told: list[Tale], lang: int, unsaid: bool) -> Ask | None:
    """A question about one of the stories, or (`unsaid`) about what none of them tells; None where
    what was drawn cannot be asked."""
    one = rng.choice(all_told)
    alone = len(all_told) == 1
    must = set() if alone else HERO | OTHER
    told = [slot for slot in one.told if slot in one.asks]
    if not unsaid:
        slot = rng.choice(told)
        return asked(rng, one, worded(rng, one, slot, must), lang, one.cast, not alone, slot)
    way = rng.random()
    if way < 0.5:
        missing = [slot for slot in one.asks if slot not in one.told]
        if rng.random() > ABOUT_ASKED:
            about = plots(lang)[f"@{ABOUT}"].asks
            missing = [slot for slot in missing if slot not in about] or missing
        rivalled = [slot for slot in missing if any(slot in other.told for other in all_told)]
        slot = rng.choice(rivalled if rivalled and rng.random() < 0.6 else missing or told)
        if slot not in one.told:
            return asked(rng, one, worded(rng, one, slot, must), lang, one.cast, not alone)
    slot = rng.choice(told)
    if way < 0.8:
        text = worded(rng, one, slot, HERO)
        stranger = cast_of(rng, lang)
        if any(people(stranger) & people(known.cast) for known in all_told):
            return None
        return asked(rng, one, text, lang, stranger, True)
    text = worded(rng, one, slot, OTHER)
    return asked(rng, one, text, lang, swapped(rng, one.cast, lang), not alone)


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
        unsaid = rng.random() < UNSAID_SHARE
        tries = (ask(rng, all_told, lang, unsaid) for _ in range(20))
        if made := next(filter(None, tries), None):
            asks.append(made)
    return dialogue(rng, idle(rng, parts, lang), asks, lang)
