"""The order desk: records of orders in many layouts, questions about them, and refusals.

It must not know how turns become a conversation.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from types import ModuleType

from . import desk_en, desk_zh, values
from .chat import Turn, capital
from .reading import choose
from .shop import expand
from .values import Maker

DESKS: tuple[ModuleType, ModuleType] = (desk_en, desk_zh)
MAKERS: dict[str, Maker] = {
    "customer": values.person,
    "item": values.product,
    "carrier": lambda rng, lang, held: values.name(
        rng, held, lambda: values.han(rng, 2, 2) + "快递" if lang else values.latin(rng, 1, 3)
    ),
    "tracking": values.code,
    "total": values.money,
    "address": values.street,
    "eta": values.date,
    "status": lambda rng, lang, held: rng.choice(DESKS[lang].STATUSES),
    "quantity": lambda rng, lang, held: str(rng.randint(2, 99)),
}


@dataclass(frozen=True)
class OrderRecord:
    """An order: its number, and the fields that the desk was told."""

    number: str
    told: dict[str, str]


def make_records(rng: random.Random, lang: int, held: bool, count: int) -> list[OrderRecord]:
    """Orders that tell the same fields, as a list from one system does."""
    fields = rng.sample(list(MAKERS), rng.randint(2, 5))
    if "status" not in fields and rng.random() < 0.3:
        fields.append("status")
    found: dict[str, OrderRecord] = {}
    while len(found) < count:
        number = values.code(rng, lang, held)
        if len(number) >= 4 and not any(number in n or n in number for n in found):
            told = {field: MAKERS[field](rng, lang, held) for field in fields}
            found[number] = OrderRecord(number, told)
    return list(found.values())


def written(rng: random.Random, records: list[OrderRecord], lang: int) -> list[str]:
    """The records as lines: a table, JSON, key and value, lists or sentences."""
    desk = DESKS[lang]
    fields = list(records[0].told)
    labels = {field: rng.choice(desk.FIELDS[field]["label"]) for field in fields}
    label_id = rng.choice(desk.LABEL_ID)
    form = rng.choice(("table", "json", "lines", "block", "prose", "prose"))
    colon, comma, stop = ("：", "，", "；") if lang else (": ", ", ", "; ")
    if form == "table":
        head = "| " + " | ".join([capital(label_id), *(capital(labels[f]) for f in fields)]) + " |"
        rule = "|" + "---|" * (len(fields) + 1)
        rows = ["| " + " | ".join([r.number, *r.told.values()]) + " |" for r in records]
        return [head, rule, *rows]
    if form == "json":
        rows_json = [
            {label_id: r.number, **{labels[f]: r.told[f] for f in fields}} for r in records
        ]
        return [json.dumps(row, ensure_ascii=False) for row in rows_json]
    if form == "lines":
        gap = rng.choice((comma, stop))
        return [
            f"{capital(label_id)}{'' if lang else ' '}{r.number}{colon}"
            + gap.join(f"{labels[f]}{colon}{r.told[f]}" for f in fields)
            for r in records
        ]
    if form == "block":
        lines: list[str] = []
        for r in records:
            lines.append(f"{capital(label_id)}{colon}{r.number}")
            lines += [f"{capital(labels[f])}{colon}{r.told[f]}" for f in fields]
        return lines
    return [
        ("" if lang else " ").join(
            rng.choice(desk.FIELDS[f]["prose"]).format(id=r.number, v=r.told[f]) for f in fields
        )
        for r in records
    ]


def ask_field(
    rng: random.Random,
    lang: int,
    records: list[OrderRecord],
    new: bool,
    last: OrderRecord | None,
) -> tuple[Turn, OrderRecord] | None:
    """A field of an order, told or not; with `last`, maybe without naming the order again."""
    desk = DESKS[lang]
    record = last if last and rng.random() < 0.6 else rng.choice(records)
    more = record is last and rng.random() < 0.7
    askable = [field for field, table in desk.FIELDS.items() if table["ask"]]
    known = [field for field in askable if field in record.told]
    unknown = [field for field in askable if field not in record.told]
    if unknown and (not known or rng.random() < 0.15):
        table = desk.FIELDS[rng.choice(unknown)]
        asked = choose(rng, table["more" if more else "ask"], new).format(id=record.number)
        reply = desk.UNKNOWN_FIELD
        return Turn("unknown", lang, asked, reply, anything_of=(reply,)), record
    if not known:
        return None
    field = rng.choice(known)
    value = record.told[field]
    if field == "eta" and "item" in record.told and not more and rng.random() < 0.35:
        asked = choose(rng, desk.BY_ITEM, new).format(item=record.told["item"])
    else:
        table = desk.FIELDS[field]
        asked = choose(rng, table["more" if more else "ask"], new).format(id=record.number)
    reply = rng.choice(desk.FIELDS[field]["reply"]).format(id=record.number, v=value)
    return Turn("record", lang, asked, reply, (value, record.number)), record


def ask_without_number(
    rng: random.Random, lang: int, records: list[OrderRecord], new: bool
) -> tuple[list[Turn], OrderRecord] | None:
    """A question that names no order: where there are several, the assistant asks for the number,
    and the customer gives it."""
    desk = DESKS[lang]
    record = rng.choice(records)
    known = [field for field in desk.BARE if field in record.told]
    if not known:
        return None
    field = rng.choice(known)
    value = record.told[field]
    asked = choose(rng, desk.BARE[field], new)
    reply = rng.choice(desk.FIELDS[field]["reply"]).format(id=record.number, v=value)
    if len(records) == 1:
        return [Turn("record_only", lang, asked, reply, (value,))], record
    mark = "订单号" if lang else "order number|number"
    numbered = rng.choice(
        ("{id}", "{id}。", "是{id}。", "订单号是{id}")
        if lang
        else ("{id}", "It's {id}.", "My order number is {id}.", "{id}, please.")
    )
    given = numbered.format(id=record.number)
    first = Turn("need_number", lang, asked, desk.ASK_ID, (mark,))
    return [first, Turn("record_after", lang, given, reply, (value,))], record


def ask_refused(rng: random.Random, lang: int, held: bool, new: bool) -> Turn:
    """Something that the desk must not do."""
    kind = rng.choice(list(DESKS[lang].REFUSALS))
    asks, reply = DESKS[lang].REFUSALS[kind]
    asked = expand(rng, choose(rng, asks, new)).format(
        who=values.person(rng, lang, held),
        item=values.product(rng, lang, held),
        card=" ".join(str(values.draw(rng, held, 1000, 9999)) for _ in range(4)),
        id=values.code(rng, lang, held),
        n=values.draw(rng, held, 5, 95),
    )
    return Turn("refuse", lang, asked, reply, anything_of=(reply,))
