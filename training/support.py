"""Makes conversations with a shop's assistant, in English and Chinese, from a seed.

It must not know what a tokenizer or a model is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from . import desk, policies
from .chat import Conversation, Turn, capital
from .desk import DESKS, OrderRecord
from .shop import PHRASES, Product, Shop, expand, make_shop
from .world import (
    Scene,
    ask_hours,
    ask_list,
    ask_missing_order,
    ask_missing_product,
    ask_missing_topic,
    ask_order,
    ask_order_bare,
    ask_payment,
    ask_price,
    ask_stock,
    ask_topic,
    ask_unknown,
    context_lines,
    talk,
)

Maker = Callable[[Scene], Turn | None]
APP_SHARE = 0.6  # of the conversations have the prompt that the support application sends


def ask_refused(scene: Scene) -> Turn:
    """Something that a shop's assistant must not do."""
    return desk.ask_refused(scene.rng, scene.lang, scene.held, scene.new_phrasing)


MAKERS: tuple[tuple[Maker, float], ...] = (
    (ask_price, 5),
    (ask_topic, 6),
    (ask_hours, 3.5),
    (ask_stock, 4),
    (ask_order, 3.5),
    (ask_payment, 1.2),
    (ask_list, 0.8),
    (ask_order_bare, 0.8),
    (ask_missing_topic, 1.8),
    (ask_missing_product, 1.6),
    (ask_missing_order, 0.7),
    (ask_unknown, 1.2),
    (ask_refused, 2),
    (talk, 2),
)


def rough(rng: random.Random, lang: int, question: str) -> str:
    """A question as people type it: greetings, no capitals, no question mark, a slip."""
    phrases = PHRASES[lang]
    bare = question
    if rng.random() < 0.08:
        opener = rng.choice(phrases.OPENERS)
        lower = bare[:1].lower() + bare[1:] if opener.endswith(", ") else bare
        bare = opener + (bare if lower.startswith(("i ", "i'")) else lower)
    if rng.random() < 0.12 and not lang:
        bare = bare.lower()
    if rng.random() < 0.2:
        bare = bare.rstrip("?？。.")
    elif lang and rng.random() < 0.15:
        bare = bare.replace("？", "?").replace("，", ",")
    if rng.random() < 0.03 and bare.endswith(("?", "？", ".", "。")):
        bare += rng.choice(phrases.TAILS)
    if rng.random() < 0.03 and not lang:
        bare = slip(rng, bare)
    return bare


def slip(rng: random.Random, text: str) -> str:
    """One typing mistake, in a word without digits."""
    spots = [i for i in range(1, len(text) - 1) if text[i - 1 : i + 2].isalpha()]
    if not spots:
        return text
    i = rng.choice(spots)
    return rng.choice((text[:i] + text[i + 1 :], text[:i] + text[i] + text[i:]))


def system_message(rng: random.Random, lang: int, shop: str, facts: str, style: str) -> str:
    """The system message: who the assistant is, rules, facts, style."""
    phrases, table = PHRASES[lang], DESKS[lang]
    if facts and style == "plain" and rng.random() < 0.4:
        template = table.CANONICAL if shop else table.CANONICAL_NAMELESS
        return str(template).format(shop=shop, facts=facts)
    parts = [expand(rng, rng.choice(phrases.SYSTEM if shop else phrases.SYSTEM_NAMELESS))]
    manner = {"brief": phrases.BRIEF, "full": phrases.FULL}.get(style)
    if manner:
        parts.append(expand(rng, rng.choice(manner)))
    if facts:
        parts.append(expand(rng, rng.choice(phrases.RULES)))
    lead = ("" if lang else " ").join(p for p in parts if p).format(shop=shop)
    return rng.choice(("\n", "\n", "\n\n")).join(p for p in (lead, facts) if p)


def notes_message(
    rng: random.Random,
    lang: int,
    shop: Shop,
    records: list[OrderRecord],
    more: Sequence[str] = (),
) -> str:
    """The system message that the support application sends: notes (`more` of them), records."""
    table = DESKS[lang]
    lines = context_lines(rng, replace(shop, facts={}), lang, "")
    facts = faq_lines(rng, shop, lang, notes=True)
    if len(facts) > 1 and rng.random() < 0.25:  # an entry of several sentences
        facts = [("" if lang else " ").join(facts)]
    lines += facts + list(more)
    rng.shuffle(lines)
    found = [table.NOTES, *(f"- {line}" for line in lines if not line.endswith((":", "：")))]
    if records:
        found.append(table.RECORDS)
        fields = list(records[0].told)
        # The keys of a record are its program's, not always in the customer's language.
        keys = DESKS[0] if lang and rng.random() < 0.3 else table
        labels = [rng.choice(keys.FIELDS[field]["label"]) for field in fields]
        for record in records:
            pairs = zip(
                (rng.choice(keys.LABEL_ID), *labels),
                (record.number, *record.told.values()),
                strict=True,
            )
            found.append("- " + ", ".join(f"{key}: {value}" for key, value in pairs))
    return "\n".join(found)


def faq_lines(rng: random.Random, shop: Shop, lang: int, notes: bool = False) -> list[str]:
    """The shop's single facts, a line each: as questions with answers, or (`notes`) mixed with
    plain sentences and entries that have a title."""
    phrases, table = PHRASES[lang], DESKS[lang]
    form = rng.choice(table.FAQ)
    lines: list[str] = []
    for topic, value in shop.facts.items():
        texts = phrases.TOPICS[topic]
        said = expand(rng, rng.choice(texts["fact"])).format(v=value[lang])
        reply = expand(rng, rng.choice(texts["reply"])).format(v=value[lang])
        asks = tuple(t for t in texts["ask"] if not t.startswith("*"))
        title = expand(rng, rng.choice(asks))
        kind = rng.random() if notes else 1.0
        if kind < 0.5:
            lines.append(said)
        elif kind < 0.7:
            lines.append(table.TITLED.format(q=capital(texts["label"][0]), a=said))
        elif kind < 0.85:
            lines.append(table.TITLED.format(q=title, a=reply))
        else:
            lines.append(form.format(q=title, a=reply))
    return lines


def facts_written(rng: random.Random, shop: Shop, lang: int, records: list[OrderRecord]) -> str:
    """All that the assistant is told, in one of many layouts."""
    if shop.facts and rng.random() < 0.2:
        lines = faq_lines(rng, shop, lang)
        lines += context_lines(rng, replace(shop, facts={}), lang)
    else:
        lines = context_lines(rng, shop, lang)
    loose = all(line.endswith((".", "。")) for line in lines) and rng.random() < 0.3
    blocks = [("" if lang else " ").join(lines) if loose else "\n".join(lines)] if lines else []
    if records:
        at = rng.randint(0, len(blocks))
        blocks.insert(at, "\n".join(desk.written(rng, records, lang)))
    return rng.choice(("\n", "\n", "\n\n")).join(blocks)


def hide_stock(shop: Shop) -> None:
    """Make the price list one of prices only."""
    shop.products = [
        Product(p.name, p.thing, p.price, "hidden", p.count, p.date, p.common)
        for p in shop.products
    ]


def record_turns(
    rng: random.Random, scene: Scene, records: list[OrderRecord], count: int
) -> list[Turn]:
    """A customer's questions about orders."""
    lang, new = scene.lang, scene.new_phrasing
    found: list[Turn] = []
    last: OrderRecord | None = None
    while len(found) < count:
        if not last and rng.random() < 0.25:
            pair = desk.ask_without_number(rng, lang, records, new)
            if pair:
                found += pair[0]
                last = pair[1]
                continue
        asked = desk.ask_field(rng, lang, records, new, last)
        if not asked:
            break
        found.append(asked[0])
        last = asked[1]
    return found


def desk_conversation(
    rng: random.Random, lang: int, held: bool = False, new: bool = False, only: str = ""
) -> Conversation | None:
    """Questions about order records. `only` cuts it after the first turn of that skill."""
    shop = make_shop(rng, held, lang, 0.4)
    shop.orders, shop.products = [], []
    records = desk.make_records(rng, lang, held, rng.choices((1, 2, 3, 4), (2, 4, 3, 1))[0])
    scene = Scene(rng, shop, lang, lang, held, new)
    system = (
        notes_message(rng, lang, shop, records)
        if rng.random() < APP_SHARE
        else system_message(rng, lang, shop.name, facts_written(rng, shop, lang, records), "plain")
    )
    turns = record_turns(rng, scene, records, rng.choice((1, 2, 3, 4)))
    if rng.random() < 0.15:
        turns.append(ask_refused(scene))
    chat = Conversation(system)
    for turn in turns:
        chat.turns.append(replace(turn, question=rough(rng, lang, turn.question)))
        if only and turn.skill == only:
            return chat
    return chat if chat.turns and not only else None


def policy_conversation(
    rng: random.Random, lang: int, held: bool = False, new: bool = False, only: str = ""
) -> Conversation | None:
    """Questions about a shop's rules. `only` cuts it after the first turn of that skill."""
    shop = make_shop(rng, held, lang, 0.4)
    shop.orders, shop.products = [], []
    rules = policies.make_policies(rng, lang, held, rng.randint(1, 6))
    notes = policies.written(rng, rules, lang, new)
    if rng.random() < APP_SHARE:
        system = notes_message(rng, lang, shop, [], notes)
    else:
        facts = "\n".join([facts_written(rng, shop, lang, []), *notes]).strip()
        system = system_message(rng, lang, shop.name, facts, "plain")
    chat = Conversation(system)
    asked: set[str] = set()
    for _ in range(rng.choice((1, 2, 3, 4))):
        turn = policies.ask_policy(rng, rules, lang, held, new)
        if turn.question in asked:
            continue
        asked.add(turn.question)
        chat.turns.append(replace(turn, question=rough(rng, lang, turn.question)))
        if only and turn.skill == only:
            return chat
    return chat if not only else None


def conversation(
    rng: random.Random,
    held: bool = False,
    new_phrasing: bool = False,
    only: Maker | None = None,
    lang: int | None = None,
    size: float | None = None,
    crossing: float = 0.08,
) -> Conversation | None:
    """One conversation. `only` makes its last turn of one kind (None if the shop cannot)."""
    context_lang = rng.randrange(2) if lang is None else lang
    spoken = 1 - context_lang if rng.random() < crossing else context_lang
    if size is None:
        size = rng.choices((0.5, 0.8, 1.2, 2.0), (5, 5, 2, 0.4))[0]
    shop = make_shop(rng, held, context_lang, size)
    if rng.random() < 0.35:
        hide_stock(shop)
    if rng.random() < 0.05:
        shop = Shop("")
    elif rng.random() < 0.12:
        shop.name = ""
    scene = Scene(rng, shop, context_lang, spoken, held, new_phrasing)
    scene.style = rng.choices(("plain", "brief", "full"), (9, 0.7, 0.4))[0]
    facts = facts_written(rng, shop, context_lang, [])
    in_user = bool(facts) and rng.random() < 0.05
    told = "" if in_user else facts
    if rng.random() < APP_SHARE:
        in_user, scene.style = False, "plain"
        if shop.name and rng.random() < 0.8:
            shop.name = ""
        chat = Conversation(notes_message(rng, context_lang, shop, []))
    else:
        chat = Conversation(system_message(rng, context_lang, shop.name, told, scene.style))
    count = rng.choices((1, 2, 3, 4, 5), (2, 2, 3, 3, 2))[0]
    makers, weights = [m for m, _ in MAKERS], [w for _, w in MAKERS]
    asked: set[str] = set()
    for number in range(count):
        final = number == count - 1
        turn = None
        for _ in range(8):
            if only and final:
                maker = only
            elif scene.last and scene.last.skill == "order_bare":
                maker = rng.choice((ask_order, ask_missing_order, ask_order))
            else:
                maker = rng.choices(makers, weights)[0]
            turn = maker(scene)
            if turn and turn.answer not in asked:
                break
        if not turn:
            return None if only else (chat if chat.turns else None)
        asked.add(turn.answer)
        scene.last = turn
        question = rough(rng, scene.lang, turn.question)
        if in_user and not chat.turns:
            template = rng.choice(PHRASES[context_lang].IN_USER)
            question = template.format(facts=facts, q=question)
        chat.turns.append(replace(turn, question=question))
        if rng.random() < 0.05 and crossing:
            scene.lang = 1 - scene.lang
    return chat
