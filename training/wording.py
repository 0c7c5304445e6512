"""More ways to say it, for training only: the examination draws from the tables alone.

The sentences stand in `sentences/*.txt`. A heading names a place of the tables; under it, `+`
states a fact, `?` asks, `n` names what is asked for and `w` asks indirectly (both are put into
frames).
`[a|b]` is a choice, `{v}` a value, `_` a space at an end, `\\n` a new line.
It must not know what a conversation is.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from . import (
    desk_en,
    desk_zh,
    kinds_en,
    kinds_zh,
    pairs,
    phrases_en,
    phrases_zh,
    spelling,
    words,
)
from .policies import RULES
from .shop import LANGUAGES, expand

T = TypeVar("T")
FOLDER = Path(__file__).parent / "sentences"
PHRASES, DESKS = (phrases_en, phrases_zh), (desk_en, desk_zh)
TEXTS = (kinds_en, kinds_zh)
# How what is named, and how what is asked indirectly, becomes a question; one list a language.
NAMED = (
    (
        "[What is|What's|What about|Do you know|Can you tell me|Could you give me|May I know] {q}?",
        "[Tell me|I need|I'd like to know|Please tell me|I want to know|I am looking for|"
        "Let me know|I have to know] {q}.",
    ),
    (
        "[请问|想问一下，|那么|我想问，|]{q}呢？",
        "[我想知道|请告诉我|帮我查一下|麻烦说一下|说说|我需要知道|给我说下|我要查]{q}。",
    ),
)
INDIRECT = (
    (
        "[Do you know|Can you tell me|Could you say|May I ask|Any idea|Would you tell me] {q}?",
        "[I wonder|I'd like to know|Please tell me|I need to know|Tell me|I want to find out|"
        "I can't find out|I forgot] {q}.",
    ),
    (
        "[请问|想问一下，|麻烦问下，|打听一下，|我想问，|那|请教一下，]{q}？",
        "[我想知道|请告诉我|告诉我|说说|我需要知道|我想弄清楚|我忘了]{q}。",
    ),
)
# Around a whole question, now and then.
AROUND = (
    (
        "[Quick question|One more thing|A question|Question|Next question|Just one thing]: {q}",
        "[Sorry to bother you.|I have a question.|Could you help me?|I need some help.|"
        "Maybe you can help me.|Not sure if you know this.] {q}",
        "{q} [Thanks!|Thank you.|I need to know.|It is important.|Just curious.|Please help.]",
        "[OK|Well|So|Right|Alright|By the way|And], {q}",
    ),
    (
        "[请问一下|想问个问题|还有个问题|再问一下|问一下|顺便问下|对了][，|：]{q}",
        "[打扰了。|我有个问题。|麻烦您了。|能帮个忙吗？|不知道您清不清楚，]{q}",
        "{q}[谢谢！|麻烦了。|我想了解一下。|急。|拜托了。|请告诉我。]",
        "[好的|嗯|那个|哦|是这样]，{q}",
    ),
)
AROUND_SHARE = 0.1
# Around a statement, now and then; it keeps its first letter only where that is a name's.
TOLD = (
    (
        "[As far as we know|By the way|In fact|As everybody says|At the moment|This year|Note that|"
        "It is said that|We hear that|According to the paper], {s}.",
        "{s}, [by the way|as they say|it seems|we were told|so they say|to be exact|at least].",
    ),
    (
        "[据了解|听说|事实上|大家都说|目前|今年|注意|报上说|据说|另外]，{s}。",
        "{s}，[大家都这么说|据说是这样|报上写着|没有错|确实如此]。",
    ),
)
TOLD_SHARE = 0.08
# How often the tables' own templates are drawn where there are others.
TABLES_SHARE = 0.3
# How often names of any words and characters are spelled from more than the lists.
SPELLED_SHARE = 0.45


def plain(templates: Sequence[str]) -> tuple[str, ...]:
    """Those that are not kept for the evaluation."""
    return tuple(t for t in templates if not t.startswith("*"))


def entries(text: str) -> Iterator[tuple[str, str, str]]:
    """The lines of a file: heading, mark and sentence."""
    heading = ""
    for line in text.splitlines():
        if line.startswith("["):
            heading = line.strip("[]")
        elif line and not line.startswith("#"):
            mark, sentence = line.split(" ", 1)
            yield heading, mark, sentence.replace("_", " ").replace("\\n", "\n")


def framed(mark: str, sentence: str, lang: int) -> tuple[str, ...]:
    """The templates that a line stands for."""
    frames = {"n": NAMED, "w": INDIRECT}.get(mark)
    return tuple(f.replace("{q}", sentence) for f in frames[lang]) if frames else (sentence,)


def place(heading: str, mark: str, lang: int) -> tuple[str, ...]:
    """The templates of the tables that a heading names; `mark` tells facts from questions."""
    room, *path = heading.split(".")
    said = mark == "+"
    found: Any
    if room == "kind":
        found = TEXTS[lang].KINDS[path[0]][path[1]][0 if said else 1]
    elif room == "rule":
        found = RULES[path[0]].facts[lang] if said else RULES[path[0]].asks[lang]
    elif room == "topic":
        found = PHRASES[lang].TOPICS[path[0]]["fact" if said else "ask"]
    elif room == "field":
        found = DESKS[lang].FIELDS[path[0]]["prose" if said else "ask"]
    elif room == "more":
        found = DESKS[lang].FIELDS[path[0]]["more"]
    elif room == "refusal":
        found = DESKS[lang].REFUSALS[path[0]][0]
    elif room == "talk":
        found = PHRASES[lang].TALK[path[0]]["ask"]
    else:
        home = next(m for m in (PHRASES[lang], DESKS[lang], TEXTS[lang]) if hasattr(m, room))
        found = getattr(home, room)
        for key in path:
            found = found[int(key) if key.isdigit() else key]
    return plain(found)


@cache
def added() -> dict[tuple[str, ...], tuple[str, ...]]:
    """For each place of the tables (its plain templates), the templates that training adds."""
    found: dict[tuple[str, ...], tuple[str, ...]] = {}
    for lang, name in enumerate(LANGUAGES):
        for path in sorted(FOLDER.glob(f"*_{name}.txt")):
            for heading, mark, sentence in entries(path.read_text("utf-8")):
                known = place(heading, mark, lang)
                new = framed(mark, sentence, lang)
                found[known] = found.get(known, ()) + new
    lines = [
        line
        for path in sorted(FOLDER.glob("*pairs.txt"))
        for line in path.read_text("utf-8").splitlines()
    ]
    found[pairs.known()] = tuple(line for line in lines if line and not line.startswith("#"))
    return found


@cache
def statements() -> dict[tuple[str, ...], int]:
    """The places of the tables that state facts about people and things; each with its language."""
    kinds = {
        plain(slot[0]): lang
        for lang in (0, 1)
        for slots in TEXTS[lang].KINDS.values()
        for slot in slots.values()
    }
    return kinds | {plain(rule.facts[lang]): lang for lang in (0, 1) for rule in RULES.values()}


QUESTION = re.compile(r"[^\n]*[?？]")


def told(rng: random.Random, sentence: str, lang: int) -> str:
    """The statement with something around it; one of several sentences stays as it is."""
    body = sentence.rstrip(".。")
    if body == sentence or "." in body or ":" in body or "：" in body:
        return sentence
    frame = expand(rng, rng.choice(TOLD[lang]))
    if frame.startswith("{s}"):
        return frame.replace("{s}", body)
    frame = frame.replace("that,", "that")
    return frame.replace("{s}", body[:1].lower() + body[1:])


class Wide(random.Random):
    """A source of chance that knows more wordings than the tables, and more spellings."""

    def choices(self, population: Any, *args: Any, k: int = 1, **kwargs: Any) -> list[Any]:
        """`k` of `population`; where that is the list of any characters, of all there are too."""
        if population is words.ANY_CHARS and self.random() < SPELLED_SHARE:
            return spelling.characters(self, k)
        return super().choices(population, *args, k=k, **kwargs)

    def choice(self, seq: Any) -> Any:
        """One of `seq`, or of what training adds to it."""
        if seq is words.ANY_WORDS and self.random() < SPELLED_SHARE:
            return spelling.word(self)
        new = added().get(seq) if type(seq) is tuple else None
        if new is None:
            return super().choice(seq)
        text = expand(self, super().choice(seq if self.random() < TABLES_SHARE else new))
        if seq in statements() and self.random() < TOLD_SHARE:
            return told(self, text, statements()[seq])
        if QUESTION.fullmatch(text) and " = " not in text and self.random() < AROUND_SHARE:
            lang = int(text.endswith("？"))
            frame = expand(self, super().choice(AROUND[lang]))
            text = frame.replace("{q}", text)
        return text
