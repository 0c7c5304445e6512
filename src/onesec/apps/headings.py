"""Headings: where a Markdown text has headings, after `#` or above a line of = or -.

Pure functions of strings, linear in their length. It must not know what becomes of sections.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE = re.compile(r"[^\n]*\n|[^\n]+\Z")
_MARKED = re.compile(r" {0,3}#{1,6}\s+(.*)")
_UNDERLINE = re.compile(r" {0,3}(?:={2,}|-{3,})")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})([^`]*)")  # "```x```" is none
# What is no heading though a line of marks follows: code, a quotation, an item, a row of a table; a
# sentence, below which a rule may stand.
_NO_TITLE = re.compile(r"(?: {4}|\t).*|\s*(?:[>|]|[-*+]\s|\d+[.)]\s).*|.*[.,;。，；…]|\W*")


@dataclass(frozen=True, slots=True)
class Heading:
    """The lines of a heading are text[start:end]; the title is without marks and may be empty."""

    start: int
    end: int
    title: str


def headings(text: str) -> Iterator[Heading]:
    """The headings of a text in their order, none of them inside of code.

    A line above = or - is one where it begins the text, or where a blank line or another heading is
    before it: what ends a paragraph is not known from a rule below it.

    >>> [h.title for h in headings("Fees\\n====\\nFive.\\n\\n## C# ##\\nA language.\\n---\\n")]
    ['Fees', 'C#']
    """
    title, titled = "", -1  # the line before, where it may be a title, and where it begins
    free, fenced = True, ""  # whether a title may begin here; the marks of the code that is open
    for line in _LINE.finditer(text):
        row = line[0].rstrip()
        fence = _FENCE.fullmatch(row)
        if fence and not fenced:
            fenced = fence[1]
        elif fence and fence[1].startswith(fenced) and not fence[2].strip():
            fenced, titled, free = "", -1, False
            continue
        if fenced:
            titled, free = -1, False
            continue
        if marked := _MARKED.fullmatch(line[0].rstrip("\r\n")):
            yield Heading(line.start(), line.end(), _without_closing(marked[1].rstrip()))
            titled, free = -1, True
        elif titled >= 0 and _UNDERLINE.fullmatch(row):
            yield Heading(titled, line.end(), title)
            titled, free = -1, "=" in row
        else:
            titled = line.start() if free and not _NO_TITLE.fullmatch(row) else -1
            title, free = row.strip(), not row


def _without_closing(heading: str) -> str:
    """A heading without the marks that may close it; those of "C#" are its own."""
    bare = heading.rstrip("#")
    return heading if bare and not bare[-1].isspace() else bare.rstrip()
