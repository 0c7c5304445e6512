"""Landed: how well a text ended that was brought to an end early, without a judge.

Pure functions of strings; all are in [0, 1], 1 is best. It must not know models, prompts or time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from .metrics import fact_coverage

_PAIRS = {
    ")": "(",
    "]": "[",
    "}": "{",
    "）": "（",
    "】": "【",
    "》": "《",
    "」": "「",
    "』": "『",
    "”": "“",
}
_OPENERS = frozenset(_PAIRS.values())
_FENCE = re.compile(r"^[ \t>]*(?:[-*+]|\d+[.)])?[ \t]*(`{3,}|~{3,})", re.MULTILINE)
_CODE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]*`", re.DOTALL)
_FACE = re.compile(r"[:;=]-?[()\[\]]")  # a smile is no bracket
_COUNT = re.compile(r"(?m)^[ \t]*\(?(?:\d+|[A-Za-z])\)")  # nor is "1)" or "a)"
# Marks that end a sentence, and what closes behind them; a table's row, a link, a code span.
_ENDS = re.compile(r"[.!?…。！？｡؟۔।॥։።፧།។៕\u037e|`\])}）】》」』”\"'»*_~]\Z")
_PIECE = re.compile(r"\w+|[^\w\s]")
_LONGEST_CYCLE = 24  # pieces of a repeated tail


@dataclass(frozen=True, slots=True)
class Ending:
    """What can be told of a landed text; see the functions of the same names."""

    ends: float
    fresh: float
    balanced: float
    facts: float

    @property
    def score(self) -> float:
        """The share of facts, where the form is whole; else 0."""
        return self.facts * self.ends * self.fresh * self.balanced


def examine(text: str, facts: Iterable[str] = ()) -> Ending:
    """All of it at once.

    >>> examine("It costs 45 dollars. It is red.", ["45", "red", "steel"]).facts
    0.6666666666666666
    """
    return Ending(
        ends=ends_well(text),
        fresh=fresh_tail(text),
        balanced=balanced(text),
        facts=fact_coverage(text, facts),
    )


def ends_well(text: str) -> float:
    """1 where the text ends as texts do: a JSON value, a closed code block, or with a mark that
    ends a sentence (with what closes behind it), a table's row or a list item. It looks at the last
    line only, and knows nothing of how the text was landed.

    >>> ends_well("好的。"), ends_well("and then the"), ends_well('{"a": [1]}')
    (1.0, 0.0, 1.0)
    """
    text = text.rstrip()
    if not text:
        return 0.0
    if text.lstrip()[0] in "{[" and is_json(text):
        return 1.0
    if len(_fences(text)) % 2:
        return 0.0
    last = text.rpartition("\n")[2].strip()
    if re.match(r"#{1,6}\s", last):
        return 0.0
    if re.match(r"(?:[-*+•]|\d+[.)、])\s*\S", last):
        return float(last[-1] not in ",:;，：；、")
    if last.endswith((":", "：", ",", "，", ";", "；")):
        return float(last.endswith(";") and re.search("[\u0370-\u03ff]", last) is not None)
    return float(_ENDS.search(last) is not None)


def is_json(text: str) -> bool:
    """Whether a text is one JSON value."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def fresh_tail(text: str, *, times: int = 3) -> float:
    """1 where the text does not end in the same words (up to 24 of them) said `times` over.

    >>> fresh_tail("I do not know."), fresh_tail("It is red. It is red. It is red.")
    (1.0, 0.0)
    """
    pieces = _PIECE.findall(text.casefold())
    for length in range(1, min(_LONGEST_CYCLE, len(pieces) // times) + 1):
        cycle = pieces[-length:]
        words = any(piece[0].isalnum() for piece in cycle)
        if words and all(
            pieces[len(pieces) - length * (i + 1) : len(pieces) - length * i] == cycle
            for i in range(times)
        ):
            return 0.0
    return 1.0


def balanced(text: str) -> float:
    """1 where brackets and quotes are closed in the order in which they were opened, and so is
    every code block. What stands in code does not count, nor do smiles and counts like "1)".

    >>> balanced("(See [1].)"), balanced("(See [1)."), balanced("```py\\nx = (")
    (1.0, 0.0, 0.0)
    """
    if is_json(text):
        return 1.0
    if len(_fences(text)) % 2:
        return 0.0
    plain = _COUNT.sub("", _FACE.sub("", _CODE.sub("", text)))
    stack: list[str] = []
    for char in plain:
        if char in _OPENERS:
            stack.append(char)
        elif char in _PAIRS and (not stack or stack.pop() != _PAIRS[char]):
            return 0.0
    return float(not stack)


def _fences(text: str) -> list[str]:
    """Lines that open or close a code block; a fence inside a longer one is no fence."""
    found: list[str] = []
    for match in _FENCE.finditer(text):
        mark = match[1]
        if len(found) % 2 and (mark[0] != found[-1][0] or len(mark) < len(found[-1])):
            continue
        found.append(mark)
    return found
