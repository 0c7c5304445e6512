"""Writes an everyday note: a dozen facts at most, in one to three of many layouts.

It must not know what is asked about a note.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass

from .chat import capital
from .desk import DESKS
from .note_kinds import Topic, Variant, things, topics
from .note_values import Manner, drawn, subjects, week
from .shop import expand

FIELD = re.compile(r"\{(\w+)\}")
# What everybody tells and asks first.
COMMON = ("hours", "hours", "pay", "fee", "return", "eta", "phone", "address", "book")
MAIN = {"product": "price", "dish": "dishprice", "order": "order", "service": "serviceprice"}
CLASSES = ("product", "product", "product", "dish", "service", "course", "room", "area", "order")
HEADS = (
    ("Notes", "Info", "Good to know", "What we tell customers", "Our place", "FAQ", "Details"),
    ("须知", "信息", "店内信息", "客户须知", "常见问题", "说明", "备忘"),
)
COLUMNS = (
    (("What", "Answer"), ("Item", "Value"), ("Topic", "Info")),
    (("项目", "内容"), ("事项", "说明"), ("名称", "信息")),
)


@dataclass(frozen=True)
class Fact:
    """What is told of a topic: of which thing (as it is written, and what it is called), in which
    variant, with which values."""

    topic: Topic
    variant: Variant
    told: dict[str, str]
    written: str = ""
    called: tuple[str, ...] = ()

    def say(self, template: str) -> str:
        """A statement of this fact."""
        return capital(template.format(**self.told, n=self.written))


def fields(template: str) -> list[str]:
    """The values that a template names."""
    return FIELD.findall(template)


def make_fact(
    rng: random.Random,
    lang: int,
    topic: Topic,
    style: Manner,
    variant: Variant | None = None,
    written: str = "",
    called: tuple[str, ...] = (),
) -> Fact:
    """A topic with values."""
    variant = variant or rng.choice(topic.variants)
    told = [*variant.sentences, *(value for _, value in variant.pairs), *variant.replies.values()]
    needed = sorted({f for text in told for f in fields(text)} - {"n"})
    return Fact(topic, variant, drawn(rng, lang, needed, style, {}), written, called or (written,))


def free(topic: Topic, facts: list[Fact], written: str = "") -> bool:
    """Whether a topic may be told beside these facts of the same thing."""
    others = [f.topic for f in facts if f.written == written or f.topic.thing == "day"]
    return all(t is not topic and not set(t.groups) & set(topic.groups) for t in others)


def make_facts(rng: random.Random, lang: int, style: Manner, count: int) -> list[Fact]:
    """About `count` facts: of the business, of its week, and of a few things alike."""
    known, found = things(lang), []
    if count > 2 and rng.random() < 0.25:
        open_, closed = known["day"][0].variants
        for number, (written, called) in enumerate(week(rng, lang)):
            variant = closed if number and rng.random() < 0.4 else open_
            found.append(make_fact(rng, lang, known["day"][0], style, variant, written, called))
    if rng.random() < 0.6:
        thing = rng.choice(CLASSES)
        several = rng.randint(1, min(5, max(1, count - len(found))))
        usual = topics(lang)[MAIN.get(thing, known[thing][0].name)]
        main = usual if rng.random() < 0.5 else rng.choice(known[thing])
        for name in subjects(rng, lang, thing, several):
            for topic in (main, rng.choice(known[thing])):
                if free(topic, found, name) and (topic is main or rng.random() < 0.35):
                    found.append(make_fact(rng, lang, topic, style, None, name))
    while len(found) < count:
        usual = topics(lang)[rng.choice(COMMON)]
        topic = usual if rng.random() < 0.3 else rng.choice(known[""])
        if free(topic, found):
            found.append(make_fact(rng, lang, topic, style))
    if rng.random() < 0.6:
        rng.shuffle(found)
    return found


def pair_of(rng: random.Random, fact: Fact) -> tuple[str, str]:
    """The fact as key and value."""
    key, value = (expand(rng, part) for part in rng.choice(fact.variant.pairs))
    return fact.say(key), value.format(**fact.told)


def laid_out(rng: random.Random, lang: int, facts: list[Fact]) -> str:
    """Some facts in one layout."""
    form = rng.choice(("prose", "lines", "bullets", "mixed", "one line", "pairs", "table", "json"))
    colon, stop, gap = ("：", "；", "") if lang else (": ", "; ", " ")
    if lang and rng.random() < 0.15:
        colon = ":"
    if form in ("prose", "lines", "bullets"):
        texts = [fact.say(expand(rng, rng.choice(fact.variant.sentences))) for fact in facts]
        ends = "。！？）" if lang else ".!?)"
        if form == "prose":
            full = "。" if lang else "."
            return gap.join(t if t[-1] in ends else t + full for t in texts)
        if rng.random() < 0.3:
            texts = [text.rstrip(".。") for text in texts]
        mark = rng.choice(("- ", "* ", "• ")) if form == "bullets" else ""
        return "\n".join(mark + text for text in texts)
    pairs = [pair_of(rng, fact) for fact in facts]
    if form == "table":
        head = rng.choice(COLUMNS[lang])
        return "\n".join(f"| {a} | {b} |" for a, b in (head, ("---", "---"), *pairs))
    if form == "json" and len({key for key, _ in pairs}) == len(pairs):
        indent = rng.choice((None, None, 2))
        return json.dumps(dict(pairs), ensure_ascii=False, indent=indent)
    if form == "mixed":
        full = "。" if lang else "."
        texts = [
            f"{key}{colon}{value}{full}"
            if rng.random() < 0.5
            else fact.say(expand(rng, rng.choice(fact.variant.sentences)))
            for fact, (key, value) in zip(facts, pairs, strict=True)
        ]
        return rng.choice((gap or "", "\n", "\n- ")).join(texts)
    if form == "one line":
        joined = rng.choice((stop, stop, " | ", " / ", "。" if lang else ". "))
        return joined.join(f"{key}{colon}{value}" for key, value in pairs) + (
            rng.choice(("", "。" if lang else "."))
        )
    line = rng.choice(("{k}{c}{v}", "{k}{c}{v}", "- {k}{c}{v}", "**{k}**{c}{v}", "- **{k}**{c}{v}",
        "{k} - {v}", "{k} = {v}", "{k}\n{v}"))  # fmt: skip
    return "\n".join(line.format(k=key, c=colon, v=value) for key, value in pairs)


def written_note(rng: random.Random, lang: int, facts: list[Fact]) -> str:
    """The facts in one to three layouts, now and then with headings."""
    parts = rng.choices((1, 2, 3), (5, 3, 1))[0] if len(facts) > 2 else 1
    cuts = sorted(rng.sample(range(1, len(facts)), parts - 1)) if parts > 1 else []
    blocks = [
        laid_out(rng, lang, facts[a:b])
        for a, b in zip([0, *cuts], [*cuts, len(facts)], strict=True)
    ]
    if rng.random() < 0.12:
        heads = rng.sample(HEADS[lang], len(blocks))
        frame = rng.choice(("## {}\n{}", "{}:\n{}", "[{}]\n{}"))
        blocks = [frame.format(*both) for both in zip(heads, blocks, strict=True)]
    return rng.choice(("\n", "\n", "\n\n")).join(blocks)


def app_note(rng: random.Random, lang: int, facts: list[Fact]) -> str:
    """The note as the support application sends it: entries of a fact or several, and records."""
    table, colon = DESKS[lang], "：" if lang else ": "
    entries: list[list[str]] = []
    records: list[str] = []
    waiting: list[str] = []
    apart = rng.random() < 0.6
    for fact in facts:
        if apart and fact.topic.name == "order":
            key, label = ("订单", "状态") if lang else ("order", "status")
            records.append(f"- {key}: {fact.written}, {label}: {pair_of(rng, fact)[1]}")
            continue
        if rng.random() < 0.4:
            entry = colon.join(pair_of(rng, fact))
            entry += rng.choice(("", "。" if lang else "."))
        else:
            entry = fact.say(expand(rng, rng.choice(fact.variant.sentences)))
        if waiting and waiting[-1][-1] not in ".。！？!?":
            waiting[-1] += "。" if lang else "."
        waiting.append(entry)
        if rng.random() < 0.65:
            entries.append(waiting)
            waiting = []
    lines = [("" if lang else " ").join(one) for one in (*entries, waiting) if one]
    found = [table.NOTES, *(f"- {line}" for line in lines)]
    return "\n".join(found + ([table.RECORDS, *records] if records else []))
