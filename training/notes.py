"""Everyday notes of shops, cafés, clinics, hotels and the like, for training only: up to a dozen
facts as people jot them down, and what customers ask about them.

It must not know what a tokenizer or a model is.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from . import values
from .chat import Conversation, Turn, capital
from .desk import DESKS
from .note_kinds import Topic, things
from .note_text import CLASSES, Fact, app_note, fields, make_facts, written_note
from .note_values import Manner, drawn, manner, noun, sibling, subjects
from .shop import PHRASES, expand, shop_name
from .support import APP_SHARE, rough, system_message

UNSAID_SHARE = 0.17  # of the questions ask for what the note does not tell
# A customer's next question about another thing, or about the same one.
NEXT = (
    {
        "product": ("And the {n}?", "What about the {n}?", "How about the {n}?"),
        "dish": ("And the {n}?", "What about the {n}?", "And for the {n}?"),
        "room": ("And the {n}?", "What about the {n}?"),
        "service": ("And a {n}?", "What about a {n}?", "And for a {n}?"),
        "course": ("And {n}?", "What about {n}?", "And the {n} course?"),
        "area": ("And {n}?", "What about {n}?", "How about {n}?"),
        "order": ("And order {n}?", "What about order {n}?", "And {n}?"),
        "day": ("And on {n}?", "What about {n}?", "And {n}?"),
    },
    {"": ("{n}呢？", "那{n}呢？", "那么{n}呢？"), "order": ("那订单{n}呢？", "订单{n}呢？")},
)  # fmt: skip
# How the thing is called when it has just been spoken of.
AGAIN = (
    {"product": ("the {n}", "it"), "dish": ("the {n}", "it"), "order": ("order {n}", "it")},
    {"product": ("{n}", "它"), "dish": ("{n}", "它"), "order": ("订单{n}", "它")},
)
MINE = ("order {n}", "my order"), ("订单{n}", "我的订单")
BOTH = (
    ("{a} {b}", "{a} And: {b}", "{a} Also: {b}", "Two questions: {a} {b}", "{a} And one more: {b}"),
    ("{a}{b}", "{a}还有，{b}", "{a}另外，{b}", "两个问题：{a}{b}", "{a}再问一下，{b}"),
)


@dataclass
class Asked:
    """What was asked last: a fact's part, and what the thing was called."""

    fact: Fact
    part: str
    called: str


class Customer:
    """Somebody who asks about a note."""

    def __init__(self, rng: random.Random, lang: int, facts: list[Fact], style: Manner) -> None:
        self.rng, self.lang, self.facts, self.style = rng, lang, facts, style
        self.last: Asked | None = None
        orders = {fact.written for fact in facts if fact.topic.thing == "order"}
        self.only = orders.pop() if len(orders) == 1 else ""

    def question(self, topic: Topic, part: str, told: dict[str, str], called: str) -> str:
        """A question for a part of a topic; where a value of the note may be meant, it is any."""
        marks = topic.asks[part]
        weights = [{"?": 6, "n": 1, "w": 1}[mark] for mark in marks]
        template = expand(self.rng, self.rng.choice(marks[self.rng.choices([*marks], weights)[0]]))
        given: dict[str, str] = {}
        for field in fields(template):
            base = field.rstrip("0123456789")
            alike = {v for f, v in told.items() if f.rstrip("0123456789") == base}
            mixed = base not in ("pay", "place") and self.rng.random() < 0.4
            if field != "n" and alike and (field == base or mixed):
                given[field] = self.rng.choice(sorted(alike))
            elif field != "n":
                known = {f"{base}{100 + i}": value for i, value in enumerate(sorted(alike))}
                given |= drawn(self.rng, self.lang, [field], self.style, known)
        if called and called == self.only and self.rng.random() < 0.5:
            template = template.replace(*MINE[self.lang])
        elif self.last and called == self.last.called and self.rng.random() < 0.5:
            full, short = AGAIN[self.lang].get(topic.thing, ("", ""))
            template = template.replace(full, short) if full else template
        return capital(template.format(**given, n=called))

    def answer(self, fact: Fact, part: str, called: str) -> str:
        """What is replied."""
        return capital(fact.variant.replies[part].format(**fact.told, n=called))

    def known(self, fact: Fact, part: str, called: str, asked: str) -> Turn:
        """A turn about something that is told."""
        self.last = Asked(fact, part, called)
        reply = self.answer(fact, part, called)
        needed = {f for f in fields(fact.variant.replies[part]) if f != "n"}
        return Turn("note", self.lang, asked, reply, tuple(fact.told[f] for f in sorted(needed)))

    def unknown(self, asked: str) -> Turn:
        """A turn about something that is not told."""
        reply = DESKS[self.lang].UNKNOWN_FIELD
        return Turn("unknown", self.lang, asked, reply, anything_of=(reply,))

    def told(self) -> Turn:
        """A question about a fact."""
        fact = self.rng.choice(self.facts)
        part = self.rng.choice([*fact.variant.replies])
        called = self.rng.choice(fact.called)
        asked = self.question(fact.topic, part, fact.told, self.short(fact, called))
        return self.known(fact, part, called, asked)

    def short(self, fact: Fact, called: str) -> str:
        """Now and then a product is only called the thing that it is, where there is one such."""
        if fact.topic.thing != "product" or self.rng.random() > 0.15:
            return called
        thing = noun(called, self.lang)
        alike = {f.written for f in self.facts if thing in f.written}
        return thing if thing and len(alike) == 1 else called

    def both(self) -> Turn:
        """Two questions in one."""
        first, second = self.told(), self.told()
        if second.answer == first.answer:
            self.last = None
            return first
        frame = self.rng.choice(BOTH[self.lang])
        gap = "" if self.lang else " "
        self.last = None
        return Turn(
            "note",
            self.lang,
            frame.format(a=first.question, b=second.question),
            f"{first.answer}{gap}{second.answer}",
            first.required + second.required,
        )

    def next(self) -> Turn | None:
        """A question that goes on from the last one: of another thing, or of another part."""
        if not self.last:
            return None
        fact, part, rng = self.last.fact, self.last.part, self.rng
        thing = fact.topic.thing
        if not thing:
            others = [p for p in fact.variant.replies if p != part]
            if not others:
                return None
            asked = self.question(fact.topic, chosen := rng.choice(others), fact.told, "")
            if self.lang:
                return self.known(fact, chosen, "", f"那{asked}")
            small = asked[:1].lower() + asked[1:]
            asked = f"And {asked if asked.startswith('I ') else small}"
            return self.known(fact, chosen, "", asked)
        frames = NEXT[self.lang].get(thing) or NEXT[self.lang][""]
        asked = rng.choice(frames)
        alike = [f for f in self.facts if f.topic is fact.topic and part in f.variant.replies]
        alike = [f for f in alike if f is not fact]
        if thing != "day" and rng.random() < UNSAID_SHARE:
            self.last = None
            open_ = self.without(fact.topic)
            some = bool(open_) and rng.random() < 0.5
            name = rng.choice(open_) if some else self.stranger(thing)
            return self.unknown(capital(asked.format(n=name)))
        if not alike:
            return None
        other = rng.choice(alike)
        called = rng.choice(other.called)
        return self.known(other, part, called, capital(asked.format(n=called)))

    def without(self, topic: Topic) -> list[str]:
        """The things of a topic's class of which neither it nor anything near it is told."""
        told: dict[str, set[str]] = {}
        for fact in self.facts:
            if fact.topic.thing == topic.thing:
                told.setdefault(fact.written, set()).add(fact.topic.name)
        general = {fact.topic.name for fact in self.facts if not fact.topic.thing}
        near = {topic.name, *topic.near}
        if "*" in near or general & near:
            return []
        return [name for name, names in told.items() if not names & near]

    def stranger(self, thing: str) -> str:
        """Something of a class that the note does not tell of."""
        known = [fact.written for fact in self.facts]
        products = [f.written for f in self.facts if f.topic.thing == thing == "product"]
        while True:
            name = subjects(self.rng, self.lang, thing, 1)[0]
            if products and self.rng.random() < 0.4:
                name = sibling(self.rng, self.rng.choice(products), self.lang) or name
            if not any(name in other or other in name for other in known if other):
                return name

    def unsaid(self) -> Turn:
        """A question that the note does not answer: for a part that is left open, for a fact that
        is not there, or about another thing."""
        rng, kinds = self.rng, things(self.lang)
        classes = sorted({f.topic.thing for f in self.facts} - {"", "day"})
        open_ = [(f, part) for f in self.facts for part in f.variant.untold]
        kind = rng.random()
        if open_ and kind < 0.4:
            fact, part = rng.choice(open_)
            called = fact.called[0]
            asked = self.question(fact.topic, part, fact.told, called)
            self.last = None
            return self.unknown(asked)
        if (classes and kind < 0.7) or kind < 0.1:
            thing = rng.choice(classes or sorted({*CLASSES}))
            topic = rng.choice(kinds[thing])
            names = sorted({f.written for f in self.facts if f.topic.thing == thing})
            name = rng.choice(names) if names and rng.random() < 0.5 else self.stranger(thing)
            same = [f.topic for f in self.facts if f.written == name]
        else:
            topic, name = rng.choice(kinds[""]), ""
            same = [f.topic for f in self.facts]
        beside = same + [f.topic for f in self.facts if f.topic.thing in ("", "day")]
        told = topic in same or any(t.name in topic.near for t in beside)
        if told or (same and "*" in topic.near):
            return self.unsaid()
        self.last = None
        part = rng.choice([*topic.asks])
        return self.unknown(self.question(topic, part, {}, name))


def notes_conversation(rng: random.Random, lang: int) -> Conversation:
    """One to five questions about an everyday note."""
    style = manner(rng, lang)
    facts = make_facts(rng, lang, style, rng.choice((1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 10, 12)))
    form = rng.random()
    if form < APP_SHARE:
        chat, told = Conversation(app_note(rng, lang, facts)), ""
    else:
        note = written_note(rng, lang, facts)
        told = note if form > 0.96 else ""
        name = shop_name(rng, False, lang) if rng.random() < 0.7 else values.org(rng, lang, False)
        lead = f"你是{name}的助手。" if lang else f"You are the assistant of {name}."
        system = rng.choice(
            (note, note, f"{lead}\n{note}", f"{lead}{'' if lang else ' '}{note}",
             system_message(rng, lang, name, note, "plain"))
        )  # fmt: skip
        chat = Conversation("" if told else system)
    customer = Customer(rng, lang, facts, style)
    asked: set[str] = set()
    count = rng.choice((1, 2, 3, 3, 4, 5))
    for _ in range(3 * count):
        if len(chat.turns) == count:
            break
        turn, before = None, customer.last
        if rng.random() < 0.4:
            turn = customer.next()
        if not turn and rng.random() < UNSAID_SHARE:
            turn = customer.unsaid()
        if not turn:
            turn = customer.both() if rng.random() < 0.15 else customer.told()
        # What has been answered is seldom asked again.
        if turn.question in asked or (turn.answer in asked and turn.skill == "note"):
            customer.last = before
            continue
        asked |= {turn.question, turn.answer}
        question = rough(rng, lang, turn.question)
        if told and not chat.turns:
            question = rng.choice(PHRASES[lang].IN_USER).format(facts=told, q=question)
        chat.turns.append(
            Turn(turn.skill, lang, question, turn.answer, turn.required, (), turn.anything_of)
        )
    return chat
