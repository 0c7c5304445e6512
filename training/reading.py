"""Makes texts to be read, with questions about them (answer) and summaries of them (summarize).

It must not know what a tokenizer or a model is.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from .chat import Conversation, Turn, capital
from .held_facts import HELD_FACTS
from .kinds import MEETING, SLOTS, TEXTS, subject
from .words import with_article

WORD = re.compile(r"[\u4e00-\u9fff]|[^\W_]+")
PRONOUNS = (("He", "She", "It"), ("他", "她", "它"))


@dataclass(frozen=True)
class Record:
    """Something to write about: its name, and the values of the slots that are told."""

    kind: str
    name: str
    told: dict[str, str]


def fill(template: str, name: str, value: str) -> str:
    """One sentence of a slot."""
    return template.format(n=name, v=value, a=with_article(value))


def choose(rng: random.Random, templates: tuple[str, ...], new: bool) -> str:
    """A template from the half that is wanted: those marked `*`, or the others."""
    marked = tuple(t[1:] for t in templates if t.startswith("*"))
    plain = tuple(t for t in templates if not t.startswith("*"))
    return rng.choice(marked if new and marked else plain)


def make_record(
    rng: random.Random, kind: str, lang: int, held: bool, count: int, must: tuple[str, ...] = ()
) -> Record:
    """A record that tells `count` slots of its kind, those of `must` among them."""
    others = [slot for slot in SLOTS[kind] if slot not in must]
    slots = [*must, *rng.sample(others, max(0, min(len(others), count - len(must))))]
    rng.shuffle(slots)
    told = {slot: SLOTS[kind][slot](rng, lang, held) for slot in slots}
    return Record(kind, subject(rng, kind, lang, held), told)


def sentences(rng: random.Random, record: Record, lang: int, pronoun: bool, new: bool) -> list[str]:
    """The record as sentences; with `pronoun`, later ones may call the subject he, she or it;
    with `new`, in words that training does not use."""
    human = record.kind in ("person", "trip", "ticket")
    word = rng.choice(PRONOUNS[lang][:2]) if human else PRONOUNS[lang][2]
    found: list[str] = []
    for slot, value in record.told.items():
        template = rng.choice(TEXTS[lang].KINDS[record.kind][slot][0])
        if new:
            template = HELD_FACTS[record.kind][slot][lang]
        name = record.name
        if pronoun and found and template.startswith("{n}") and "'s" not in template:
            name = word if rng.random() < 0.5 else name
        found.append(capital(fill(template, name, value)))
    return found


def lay_out(rng: random.Random, parts: list[str], lang: int) -> str:
    """Sentences as a paragraph, as lines or as a list."""
    form = rng.random()
    if form < 0.72:
        return ("" if lang else " ").join(parts)
    bullet = "- " if form < 0.86 else ""
    return "\n".join(bullet + part for part in parts)


def passage(rng: random.Random, records: list[Record], lang: int, new: bool = False) -> str:
    """A text that tells the records, in order or mixed, with a few idle sentences."""
    groups = [sentences(rng, record, lang, len(records) == 1, new) for record in records]
    if len(records) > 1 and rng.random() < 0.3:
        return "\n\n".join(lay_out(rng, group, lang) for group in groups)
    parts = [part for group in groups for part in group]
    if len(records) > 1 and rng.random() < 0.35:
        rng.shuffle(parts)
    for _ in range(rng.choice((0, 0, 1, 2))):
        at = rng.randint(1, len(parts))
        parts.insert(at, rng.choice(TEXTS[lang].FILLERS))
    return lay_out(rng, parts, lang)


def meeting(rng: random.Random, lang: int, held: bool) -> tuple[str, dict[str, str]]:
    """A talk of two people who arrange to meet, and its values."""
    told = {slot: make(rng, lang, held) for slot, make in MEETING.items()}
    text = TEXTS[lang].MEETING
    lines = []
    for number, key in enumerate(("open", "ok", "when", "fine", "where", "task", "bye")):
        speaker = told["b" if number % 2 else "a"]
        colon = "：" if lang else ": "
        lines.append(f"{speaker}{colon}{rng.choice(text[key]).format(**told)}")
    return "\n".join(lines), told


# --- questions ---------------------------------------------------------------------------------


def told_of_others(record: Record, records: list[Record], slots: list[str]) -> list[str]:
    """Those of `slots` that the text tells of another of the record's kind; all, where none is."""
    others = [other for other in records if other is not record and other.kind == record.kind]
    return [slot for slot in slots if any(slot in other.told for other in others)] or slots


def question_turn(
    rng: random.Random,
    records: list[Record],
    lang: int,
    held: bool,
    new: bool,
    full: bool,
    drill: bool,
) -> Turn:
    """A question about what a text says, or about something that it does not say.

    `drill`: more of the latter, and every other question about what is told of something else.
    """
    text = TEXTS[lang]
    record = rng.choice(records)
    table = text.KINDS[record.kind]
    missing = [slot for slot in table if slot not in record.told]
    told = list(record.told)
    unsaid = rng.random() < (0.4 if drill else 0.27)
    if drill and rng.random() < 0.5:
        missing = told_of_others(record, records, missing)
        told = told_of_others(record, records, told)
    if unsaid:
        if missing and rng.random() < 0.6:
            asked = choose(rng, table[rng.choice(missing)][1], new).format(n=record.name)
        else:
            name = subject(rng, record.kind, lang, held)
            asked = choose(rng, table[rng.choice(list(table))][1], new).format(n=name)
        return Turn("answer_none", lang, asked, text.NOT_SAID, anything_of=(text.NOT_SAID,))
    slot = rng.choice(told)
    value = record.told[slot]
    asked = choose(rng, table[slot][1], new).format(n=record.name)
    if full:
        reply = capital(fill(table[slot][0][0], record.name, value))
        return Turn("answer_full", lang, asked, reply, (value, record.name))
    return Turn("answer", lang, asked, value, (value,), anything_of=(value,))


def with_text(
    rng: random.Random, lang: int, chat: Conversation, text: str, canonical: bool
) -> None:
    """Put the text in front of the first question."""
    first = chat.turns[0]
    table = TEXTS[lang]
    template = table.ANSWER_APP if canonical else rng.choice(table.ANSWER_USERS)
    chat.turns[0] = Turn(
        first.skill,
        lang,
        template.format(text=text, q=first.question),
        first.answer,
        first.required,
        first.forbidden,
        first.anything_of,
    )


def answer_conversation(
    rng: random.Random,
    lang: int,
    held: bool = False,
    new: bool = False,
    turns: int | None = None,
    canonical: bool | None = None,
    size: int | None = None,
    drill: bool = False,
) -> Conversation:
    """A few questions about one text; `size` is the number of records in it.

    `drill`, for training: more questions, and harder ones (see `question_turn`).
    """
    table = TEXTS[lang]
    if canonical is None:
        canonical = rng.random() < 0.7
    full = not canonical and rng.random() < 0.3
    system = rng.choice((table.ANSWER_SYSTEM, *table.ANSWER_SYSTEMS))
    chat = Conversation("" if canonical else table.FULL_SYSTEM if full else system)
    count = turns or rng.choice((1, 2, 3, 4, 5, 6, 7) if drill else (1, 2, 3, 4, 5))
    if rng.random() < 0.12 and not full:
        text, told = meeting(rng, lang, held)
        slots = rng.sample(list(table.MEETING_ASKS), min(count, 5))
        for slot in slots:
            asked = choose(rng, table.MEETING_ASKS[slot], new).format(**told)
            value = told[slot]
            chat.turns.append(Turn("answer", lang, asked, value, (value,), anything_of=(value,)))
    else:
        number = size or rng.choices((1, 2, 3, 4), (4, 4, 2, 1))[0]
        kinds = [rng.choice(list(SLOTS))] * number
        if rng.random() < 0.35:
            kinds = [rng.choice(list(SLOTS)) for _ in range(number)]
        told_each = 4 if number < 3 else 3
        records = [make_record(rng, kind, lang, held, rng.randint(2, told_each)) for kind in kinds]
        text = passage(rng, records, lang, new)
        asked_before: set[str] = set()
        for _ in range(count):
            turn = question_turn(rng, records, lang, held, new, full, drill)
            if turn.question not in asked_before:
                chat.turns.append(turn)
                asked_before.add(turn.question)
    with_text(rng, lang, chat, text, canonical)
    return chat


# --- summaries ---------------------------------------------------------------------------------


def slots_of(template: str) -> tuple[str, ...]:
    """The slots that a summary sentence names."""
    fields = [part.split("}")[0] for part in template.split("{")[1:]]
    return tuple(field.split(":")[0] for field in fields)


def say(template: str, values: dict[str, str]) -> str:
    """A summary sentence with its values (`{job:a}` takes an article)."""
    for slot, value in values.items():
        template = template.replace(f"{{{slot}:a}}", with_article(value))
        template = template.replace(f"{{{slot}}}", value)
    return capital(template)


def letter(rng: random.Random, lang: int, values: dict[str, str], new: bool) -> str:
    """A customer's message in one of several forms."""
    template = choose(rng, TEXTS[lang].LETTERS, new)
    opened = template.replace("{problem!c}", capital(values["problem"]))
    text = str(opened.format(**values))
    return "\n".join(capital(line) for line in text.split("\n"))


def size(text: str) -> int:
    """Words of a text; Chinese characters count as one each."""
    return len(WORD.findall(text))


def summary_parts(
    rng: random.Random, lang: int, held: bool, new: bool
) -> tuple[str, list[str], list[tuple[str, ...]]]:
    """A text, the sentences that sum it up, and the values that each of them holds."""
    table = TEXTS[lang]
    kind = rng.choice((*SLOTS, "meeting", "ticket", "letter", "letter"))
    if kind == "meeting":
        text, values = meeting(rng, lang, held)
        frames = table.MEETING
    else:
        letters, kind = kind == "letter", "ticket" if kind == "letter" else kind
        frames = table.SUMMARIES[kind]
        first = tuple(s for s in slots_of(frames["one"][0]) if s != "n")
        second = tuple(s for s in slots_of(frames["two"][0]) if s != "n")
        both = letters or rng.random() < 0.8
        must = (*first, *(second if both else ()))
        count = len(must) + (0 if letters else rng.randint(0, 2))
        record = make_record(rng, kind, lang, held, count, must)
        values = {"n": record.name, **record.told}
        text = letter(rng, lang, values, new) if letters else passage(rng, [record], lang, new)
    used = [rng.choice(frames["one"])]
    second_frame = rng.choice(frames["two"])
    if all(s in values for s in slots_of(second_frame)):
        used.append(second_frame)
    required = [tuple(values[s] for s in slots_of(frame)) for frame in used]
    return text, [say(frame, values) for frame in used], required


def summary_turn(
    rng: random.Random, lang: int, held: bool, new: bool, short: bool, ask: str
) -> Turn:
    """A text to sum up. `short`: in one sentence; `ask` holds `{text}`."""
    text, said, required = summary_parts(rng, lang, held, new)
    keep = 1 if short else len(said)
    answer = ("" if lang else " ").join(said[:keep])
    values = tuple(dict.fromkeys(v for values in required[:keep] for v in values))
    return Turn("summarize", lang, ask.format(text=text), answer, values, source=text)


def app_summary_turn(rng: random.Random, lang: int, held: bool, new: bool) -> Turn:
    """A text to sum up in a given length, asked as the application asks."""
    asks, gap = TEXTS[lang].SUMMARY_APP, "" if lang else " "
    form = rng.random()
    if form < 0.45:
        return summary_turn(rng, lang, held, new, True, asks["one"])
    if form < 0.65:
        return summary_turn(rng, lang, held, new, False, asks["sentences"].replace("{n}", "2"))
    text, said, required = summary_parts(rng, lang, held, new)
    if form < 0.85:
        least, most = size(said[0]), size(gap.join(said))
        limit = (
            rng.randint(least, least + 20) if rng.random() < 0.5 else rng.randint(most, most + 20)
        )
        keep = len(said) if limit >= most else 1
        ask = asks["words"].replace("{n}", str(limit))
    else:  # parts of a long text, one a line
        lines, required = [said[0]], [required[0]]
        for _ in range(rng.randint(1, 2)):
            _, more, needed = summary_parts(rng, lang, held, new)
            lines.append(more[0])
            required.append(needed[0])
        text, said, keep = "\n".join(lines), lines, len(lines)
        ask = asks["sentences"].replace("{n}", str(keep))
    answer = gap.join(said[:keep])
    values = tuple(dict.fromkeys(v for values in required[:keep] for v in values))
    return Turn("summarize", lang, ask.format(text=text), answer, values, source=text)


def summary_conversation(
    rng: random.Random,
    lang: int,
    held: bool = False,
    new: bool = False,
    canonical: bool | None = None,
    turns: int | None = None,
) -> Conversation:
    """One text to sum up, or a few, one after the other."""
    table = TEXTS[lang]
    if canonical is None:
        canonical = rng.random() < 0.65
    count = turns or rng.choice((1, 1, 2, 3))
    if canonical:
        return Conversation("", [app_summary_turn(rng, lang, held, new) for _ in range(count)])
    short = rng.random() < 0.4
    which = 0 if short else 1
    if rng.random() < 0.5:
        asks = [rng.choice(table.SUMMARY_USERS[which]) for _ in range(count)]
        turns_made = [summary_turn(rng, lang, held, new, short, ask) for ask in asks]
        return Conversation("", turns_made)
    system = rng.choice((table.SUMMARY_SYSTEM[which], *table.SUMMARY_SYSTEMS[which]))
    made = [summary_turn(rng, lang, held, new, short, "{text}") for _ in range(count)]
    return Conversation(system, made)
