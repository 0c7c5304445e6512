"""Chunks: a long text in pieces, how many of them there is time for, and in which order.

Pure functions; the times of the model come in as one. It must not know prompts or models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .ask import TEMPLATE_TOKENS, Length
from .text import Span, after_space, sentence_break

FRAME_TOKENS = 24 + TEMPLATE_TOKENS  # the instruction and the template around a chunk
PLANNED_SHARE = 0.9  # of the time; the rest is for what the prediction does not know


@dataclass(frozen=True, slots=True)
class Plan:
    """How many chunks there is time for; a chunk's time and that of bringing the parts together."""

    chunks: int
    part_ms: float
    reduce_ms: float


def plan(
    sizes: Sequence[int],
    left_ms: float,
    predict_ms: Callable[[int, int], float],
    *,
    limit: int,
    part: Length,
    final: Length,
) -> Plan:
    """How many chunks of `sizes` tokens can be read in `left_ms`, each into a reply of length
    `part`, so that these can still be brought together into one of the `final` length. At least 1.

    predict_ms  (prompt tokens, answer tokens) to milliseconds; limit: tokens of one prompt's text

    >>> brief = Length(usual=30, most=60)
    >>> plan([600] * 9, 1000.0, lambda n, m: 0.1 * n + m, limit=600, part=brief, final=brief)
    Plan(chunks=8, part_ms=97.2, reduce_ms=61.2...)
    """
    usual = part.usual
    size = -(-sum(sizes) // len(sizes))
    part_ms = predict_ms(size + FRAME_TOKENS, usual)

    def reduce_ms(count: int) -> float:
        total, tokens = 0.0, count * usual
        while tokens > limit > usual:
            groups = -(-tokens // limit)
            total += groups * predict_ms(limit + FRAME_TOKENS, usual)
            tokens = groups * usual
        return total + predict_ms(tokens + FRAME_TOKENS, final.usual)

    low, high = 1, len(sizes)
    while low < high:
        middle = (low + high + 1) // 2
        if middle * part_ms + reduce_ms(middle) <= PLANNED_SHARE * left_ms:
            low = middle
        else:
            high = middle - 1
    return Plan(low, part_ms, reduce_ms(low))


def spread(count: int) -> list[int]:
    """The numbers below `count` in an order whose every beginning is spread over the whole: first
    and last, then the middle, then the middles of the gaps.

    >>> spread(6)
    [0, 5, 2, 1, 3, 4]
    """
    order = [0] if count < 2 else [0, count - 1]
    gaps = [(0, count - 1)]
    for low, high in gaps:  # grows while it is walked through
        if high - low > 1:
            middle = (low + high) // 2
            order.append(middle)
            gaps += [(low, middle), (middle, high)]
    return order


def chunks(text: str, most_chars: int) -> list[Span]:
    """The text in pieces of whole sentences, of at most `most_chars` characters and of about the
    same length.

    >>> [piece.text for piece in chunks("One two. Three four. Five six.", 22)]
    ['One two. Three four.', 'Five six.']
    """
    size = len(text.strip())
    if size <= most_chars:
        start = len(text) - len(text.lstrip())
        return [Span(start, start + size, text.strip())] if size else []
    even = size // -(-size // most_chars)
    found: list[Span] = []
    stop = len(text.rstrip())
    start = after_space(text, 0, stop)
    # Only the places where pieces may end are looked at: a megabyte takes milliseconds.
    while stop - start > most_chars:
        end = sentence_break(text, start, start + even, start + most_chars)
        piece = text[start:end].rstrip()
        found.append(Span(start, start + len(piece), piece))
        start = after_space(text, end, stop)
    found.append(Span(start, stop, text[start:stop]))
    return found
