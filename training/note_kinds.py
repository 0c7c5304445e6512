"""The kinds of facts that a small business writes down, read from `sentences/notes/*.txt`.

A file holds topics of one language. `[name]` begins a topic; `class` says of what kind of thing it
tells (none: of the business itself), `group` with what it is never told together, `near` beside
what it is never asked in vain (`*`: beside any other of the same thing); these three stand in the
English files. `?`, `n.` and `w.` ask for a part of it: a question, a name and an indirect question
(both are put into frames). `+` states it, `:` states it as key and value, `=` replies to a part,
`!` names a part that is not told; `---` begins another way things may be.
It must not know how notes are laid out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from .chat import capital
from .shop import LANGUAGES
from .wording import framed

FOLDER = Path(__file__).parent / "sentences" / "notes"


@dataclass(eq=False)
class Variant:
    """One way things may be: sentences, keys with values, a reply to each part, and the parts that
    are left open."""

    sentences: list[str] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    replies: dict[str, str] = field(default_factory=dict)
    untold: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Topic:
    """What may be told and asked. `asks`: for each part, its templates by mark (`?`, `n`, `w`)."""

    name: str
    thing: str = ""
    groups: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    asks: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    variants: list[Variant] = field(default_factory=list)


def read(text: str, lang: int) -> list[Topic]:
    """The topics of a file."""
    found: list[Topic] = []
    for line in text.splitlines():
        mark, _, rest = line.partition(" ")
        if not line or mark == "#":
            continue
        if line.startswith("["):
            found.append(Topic(line.strip("[]")))
            fresh = True
            continue
        topic = found[-1]
        if mark == "---":
            fresh = True
        elif mark in ("class", "group", "near"):
            name = {"class": "thing", "group": "groups", "near": "near"}[mark]
            setattr(topic, name, rest if mark == "class" else tuple(rest.split()))
        elif mark[0] == "?" or mark[:2] in ("n.", "w."):
            part = mark[1:].lstrip(".")
            templates = topic.asks.setdefault(part, {}).setdefault(mark[0], [])
            templates += framed(mark[0], rest, lang)
            if mark[0] == "n":
                templates.append(capital(rest) + ("？" if lang else "?"))
        else:
            if fresh:
                topic.variants.append(Variant())
                fresh = False
            variant = topic.variants[-1]
            if mark == "+":
                variant.sentences.append(rest)
            elif mark == ":":
                key, _, value = rest.partition(" = ")
                variant.pairs.append((key, value))
            elif mark[0] == "=":
                variant.replies[mark[1:]] = rest
            elif mark[0] == "!":
                variant.untold.append(mark[1:])
            else:
                raise ValueError(f"{topic.name}: {line}")
    return found


@cache
def topics(lang: int) -> dict[str, Topic]:
    """All topics of a language by name."""
    paths = sorted(FOLDER.glob(f"*_{LANGUAGES[lang]}.txt"))
    found = {t.name: t for path in paths for t in read(path.read_text("utf-8"), lang)}
    if lang:
        for name, topic in topics(0).items():
            chinese = found[name]
            chinese.thing, chinese.groups, chinese.near = topic.thing, topic.groups, topic.near
    return found


@cache
def things(lang: int) -> dict[str, tuple[Topic, ...]]:
    """The topics by the class of thing that they tell of."""
    found: dict[str, list[Topic]] = {}
    for topic in topics(lang).values():
        found.setdefault(topic.thing, []).append(topic)
    return {thing: tuple(listed) for thing, listed in found.items()}


def templates(lang: int) -> list[str]:
    """Every template: what a note states, what is asked, and what is replied."""
    found: list[str] = []
    for topic in topics(lang).values():
        found += [a for marks in topic.asks.values() for listed in marks.values() for a in listed]
        for variant in topic.variants:
            found += variant.sentences
            found += [f"{key}: {value}" for key, value in variant.pairs]
            found += variant.replies.values()
    return found
