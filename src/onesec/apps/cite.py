"""Cite: which sources bear a reply out, found by comparing texts.

Models are not asked for citations: small ones invent them, and each costs tokens. Instead every
sentence of the reply is matched with the sentences of the sources that were in the prompt, and its
numbers are looked up in them. Pure functions; it must not know models or applications.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from .text import Span, sentences, telling_terms, terms

LEAST_SUPPORT = 0.34  # share of a sentence's weight that a source must hold to be cited
_NUMBER_WEIGHT, _ASKED_WEIGHT = 1.5, 0.25  # a word of the question says little about the source
_NUMBER = re.compile(r"\d+(?:,\d{3}(?!\d)|[.:]\d+)*")


@dataclass(frozen=True, slots=True)
class Support:
    """A sentence of source number `source` that bears out a part of the reply; `span` lies in that
    source's text, `score` in (0, 1]."""

    source: int
    span: Span
    score: float


def supports(reply: str, sources: Sequence[str], *, question: str = "") -> list[Support]:
    """For each sentence of the reply the source sentence that holds most of it, best first and each
    once; those that hold less than LEAST_SUPPORT of its weight are left out. Where several hold it,
    as they do a bare "3 days", the one that speaks of the question is taken.

    >>> [found] = supports("It takes 3 days.", ["Free over $50.", "Delivery: 3 days. Fee: $5."])
    >>> found.source, found.span.text
    (1, 'Delivery: 3 days.')
    """
    asked, wanted = set(terms(question)), set(telling_terms(question))
    pool = [
        (number, span, frozenset(terms(span.text)))
        for number, source in enumerate(sources)
        for span in sentences(source)
    ]
    best: dict[tuple[int, int], Support] = {}
    for part in sentences(reply):
        weights = _weights(part.text, asked)
        total = sum(weights.values())
        if not total:
            continue
        found, most = None, 0.0
        for number, span, held in pool:
            score = sum(weight for term, weight in weights.items() if term in held) / total
            worth = score + _ASKED_WEIGHT * len(wanted & held) / max(1, len(wanted))
            if score >= LEAST_SUPPORT and worth > most:
                found, most = Support(number, span, score), worth
        if found is not None:
            key = (found.source, found.span.start)
            if key not in best or best[key].score < found.score:
                best[key] = found
    return sorted(best.values(), key=lambda one: -one.score)


def _weights(text: str, asked: set[str]) -> dict[str, float]:
    weights = {}
    for term in telling_terms(text):
        weight = _NUMBER_WEIGHT if any(map(str.isdigit, term)) else 1.0
        weights[term] = weight * (_ASKED_WEIGHT if term in asked else 1.0)
    return weights


def unsupported_numbers(reply: str, sources: Sequence[str]) -> tuple[str, ...]:
    """Numbers of the reply that stand in none of the sources: most likely made up.

    >>> unsupported_numbers("It costs 45.00 or 46 dollars.", ["Price: $45"])
    ('46',)
    """
    known = {_value(number) for source in sources for number in _NUMBER.findall(source)}
    found = dict.fromkeys(_NUMBER.findall(reply))
    return tuple(number for number in found if _value(number) not in known)


def _value(number: str) -> str:
    plain = unicodedata.normalize("NFKC", number).replace(",", "")  # of one width
    return plain.rstrip("0").rstrip(".") if "." in plain else plain
