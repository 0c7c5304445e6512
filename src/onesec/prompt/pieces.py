"""Pieces: a text cut at the ends of its sentences, so that some of them may be left out.

It must not know why a text is shortened.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from onesec.apps.text import is_abbreviation

OMISSION = " […] "  # stands where sentences were taken out
Mark = tuple[int, int]  # where an omission stands in a text, and what it added to its length
_NEAR = 3  # pieces from either end in which a question is looked for
_ASKING = ("?", "？")
# Where a sentence ends: Latin marks need white space behind them (3.14), Chinese ones do not.
# A run of marks is tried from its first one only: a long one costs its length once.
_SENTENCE_END = re.compile(
    r"[.!?](?<![.!?][.!?])[.!?]*+[\"'”’)\]]*+\s++|[。！？…]++[”’」』）\]]*+\s*+|\n\s*+"
)


def pieces_of(text: str, longest: int, *, shortest: int = 1) -> list[str]:
    """The text in sentences; those longer than `longest` characters are cut between words, and in
    words where there are no spaces, those shorter than `shortest` are joined to the next. Joined,
    they are the text.

    >>> pieces_of("One. Two three.", 200)
    ['One. ', 'Two three.']
    """
    ends = [
        match.end()
        for match in _SENTENCE_END.finditer(text)
        if match[0][0] != "." or not is_abbreviation(text, 0, match.start())
    ]
    pieces: list[str] = []
    short = ""
    for start, end in pairwise([0, *ends, len(text)]):
        while end - start > longest:
            space = text.rfind(" ", start, start + longest) + 1
            cut = space if space > start else start + longest
            pieces.append(short + text[start:cut])
            short, start = "", cut
        short += text[start:end]
        if len(short) >= shortest:
            pieces.append(short)
            short = ""
    if short and pieces and len(short) < shortest:
        pieces[-1] += short
    elif short:
        pieces.append(short)
    return pieces


def omit(text: str, *, last: bool = False) -> tuple[str, Mark]:
    """The beginning of a text with the mark of an omission behind it, in the place of white space;
    `last`: nothing more comes.

    >>> omit("One. ")
    ('One. […] ', (5, 4))
    """
    marked = text.rstrip() + (OMISSION.rstrip() if last else OMISSION)
    return marked, (marked.rindex("["), len(marked) - len(text))


def ends_that_ask(pieces: Sequence[str]) -> tuple[int, int]:
    """How many pieces at the beginning and at the end of a message say what is wanted: the first
    and the last one, and what lies between these and a question near them.

    >>> ends_that_ask(["Hello.", "Who pays?", "A long text.", "It goes on.", "Its end.", "Answer."])
    (2, 1)
    """
    head = [i for i, piece in enumerate(pieces[:_NEAR]) if piece.rstrip().endswith(_ASKING)]
    tail = [i for i, piece in enumerate(pieces[: -_NEAR - 1 : -1])
            if piece.rstrip().endswith(_ASKING)]  # fmt: skip
    first = 1 + max(head, default=0)
    return first, min(len(pieces) - first, 1 + max(tail, default=0))
