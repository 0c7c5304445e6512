"""Rank: which of many texts speak of a question: BM25 over words and Chinese character pairs.

Pure functions. It must not know models, tokens or where the texts come from.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence

from .text import telling_terms, terms

_K1, _B = 1.2, 0.75  # the usual constants of BM25
_MOST_TERMS = 64  # of a question; longer ones are known well enough by these
_LOOK_EVERY = 64  # texts between two looks at the clock


def rank(
    question: str, texts: Sequence[str], *, enough: Callable[[], bool] = lambda: False
) -> tuple[list[tuple[int, float]], int]:
    """(index, score) of the texts that share a term with the question, best first; and how many
    texts were looked at. `enough` is asked now and then; when it says so, the rest is left.

    >>> rank("delivery time?", ["Delivery takes 3 days.", "Refunds are free."])
    ([(0, 0.65...)], 2)
    """
    wanted = list(dict.fromkeys(telling_terms(question) or terms(question)))[:_MOST_TERMS]
    if not wanted:
        return [], len(texts)
    finder, known = _finder(wanted), frozenset(wanted)
    counts: list[dict[str, int]] = []
    for number, text in enumerate(texts):
        if number % _LOOK_EVERY == 0 and number and enough():
            break
        found: dict[str, int] = {}
        for match in finder.finditer(text.lower()):
            term = match[match.lastindex or 0]
            term = term if term in known else f"{term[:-2]}y"  # of "batteries"
            found[term] = found.get(term, 0) + 1
        counts.append(found)
    seen = len(counts)
    mean = sum(map(len, texts[:seen])) / max(1, seen) or 1.0
    weight = {term: _rarity(seen, sum(term in found for found in counts)) for term in wanted}
    scored = []
    for index, found in enumerate(counts):
        long = _K1 * (1.0 - _B + _B * len(texts[index]) / mean)
        score = sum(weight[term] * n * (_K1 + 1.0) / (n + long) for term, n in found.items())
        if found:
            scored.append((index, score))
    scored.sort(key=lambda pair: (-pair[1], pair[0]))
    return scored, seen


def _finder(wanted: Iterable[str]) -> re.Pattern[str]:
    """Finds the terms in small letters: words with whatever ending, Chinese pairs overlapping."""
    words = [
        f"{re.escape(term[:-1])}(?:y|ie(?=[sd]))" if term.endswith("y") else re.escape(term)
        for term in sorted(wanted, key=len, reverse=True)
        if term.isascii()
    ]
    others = [re.escape(term) for term in wanted if not term.isascii()]
    parts = []
    if words:
        parts.append(rf"(?<![a-z0-9])({'|'.join(words)})(?:'?e?[sd]|ing|ed|ly|er)?(?![a-z0-9])")
    if others:
        parts.append(f"(?=({'|'.join(others)}))")
    return re.compile("|".join(parts))


def _rarity(texts: int, holding: int) -> float:
    return math.log(1.0 + (texts - holding + 0.5) / (holding + 0.5))
