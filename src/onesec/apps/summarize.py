"""Summarize: a text in a given length; a long one in parts, as many as the time allows.

    summary = Summarize(llm)(text, length="40 words", deadline="1s")
    print(summary.text, f"{summary.read_share:.0%} read")

A text that does not fit the context is cut into chunks, each is summarized in one sentence, and the
sentences are summarized in turn. `plan` says beforehand for how many chunks there is time; they are
spread over the whole text, and what was left out is said.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from onesec.core.deadline import Deadline
from onesec.core.errors import (
    ContextLengthExceeded,
    DeadlineInfeasible,
    EmptyPrompt,
    InvalidRequest,
)

from .base import TEMPLATE_TOKENS, App, Ask, Duration, Length, OnText, Reply, Steps
from .cite import unsupported_numbers
from .text import Language, Span, language, sentences, without_blank_lines, words

_ONE: Mapping[Language, str] = {"en": "Summarize in one sentence:", "zh": "用一句话概括："}
_SENTENCES: Mapping[Language, str] = {
    "en": "Summarize in {n} sentences:",
    "zh": "用{n}句话概括：",
}
_WORDS: Mapping[Language, str] = {
    "en": "Summarize in at most {n} words:",
    "zh": "用不超过{n}字概括：",
}
_FRAME_TOKENS = 24 + TEMPLATE_TOKENS  # the instruction and the template around a chunk
_CHUNK_TOKENS = 600
_CHUNK_SHARE = 0.25  # of the time that a chunk may take at most
_PLANNED_SHARE = 0.9  # of the time; the rest is for what the prediction does not know
_GENEROUS = 1.5  # times its fair share may a call take: most need less than predicted
_SAFETY = 0.85  # chunks are cut by characters: room for places that need more tokens than usual
_SAMPLE = 600  # characters of each of three places that tell how many make a token
_LENGTH = re.compile(
    r"[\s≤<~约]*(?:(?:at most|up to|under|within|max\.?|不超过|最多|少于)\s*)?"
    r"(?P<n>\d{1,4}|one|a|two|three|four|five|[一二两三四五])\s*"
    r"(?P<unit>sentences?|words?|characters?|句话?|个?字)(?:\s*(?:以内|之内))?[.。]?",
    re.IGNORECASE,
)
_NUMBERS = {"one": 1, "a": 1, "two": 2, "three": 3, "four": 4, "five": 5} | dict(
    zip("一二两三四五", (1, 2, 2, 3, 4, 5), strict=True)
)


@dataclass(frozen=True, slots=True)
class Target:
    """How long a summary shall be: so many sentences, or at most so many words (字 in Chinese)."""

    count: int
    unit: Literal["sentences", "words"]

    def __post_init__(self) -> None:
        most = 20 if self.unit == "sentences" else 2000
        if not 1 <= self.count <= most:
            raise InvalidRequest(f"A summary of {self.count} {self.unit}; 1 to {most} can be.")

    @classmethod
    def of(cls, value: str | Target) -> Target:
        """From "one sentence", "3 sentences", "40 words", "≤ 40 words", "一句话" or "60字".

        >>> Target.of("≤ 40 words"), Target.of("一句话")
        (Target(count=40, unit='words'), Target(count=1, unit='sentences'))
        """
        if isinstance(value, Target):
            return value
        match = _LENGTH.fullmatch(value.strip())
        if match is None:
            raise InvalidRequest(
                f"{value!r} is not a length of a summary.",
                hint='Write for example "one sentence", "40 words", "一句话" or "60字".',
            )
        number = match["n"].lower()
        sentence = match["unit"].lower().startswith(("sentence", "句"))
        return cls(_NUMBERS.get(number) or int(number), "sentences" if sentence else "words")

    def instruction(self, lang: Language) -> str:
        """The words that ask a model for it."""
        if self.unit == "words":
            return _WORDS[lang].format(n=self.count)
        return _ONE[lang] if self.count == 1 else _SENTENCES[lang].format(n=self.count)

    def met_by(self, text: str) -> bool:
        """Whether a summary keeps to it."""
        return self.size(text) <= self.count

    def size(self, text: str) -> int:
        """The length of a text in this unit: words; characters where it is Chinese."""
        if self.unit == "sentences":
            return sum(1 for _ in sentences(text))
        return len(words(text))

    def length(self, tokens_per_char: float, lang: Language) -> Length:
        """Tokens to expect: a word has about six characters, a sentence about 20 words or 30 字."""
        chars = {"words": {"en": 6, "zh": 1}, "sentences": {"en": 120, "zh": 30}}[self.unit][lang]
        usual = max(8, round(self.count * chars * tokens_per_char))
        return Length(usual=usual, most=usual + usual // 2 + 16)


_PART = Target(1, "sentences")


@dataclass(frozen=True, slots=True)
class Plan:
    """How many chunks there is time for; a chunk's time and that of bringing the parts together."""

    chunks: int
    part_ms: float
    reduce_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A summary, and what it rests on.

    kept         whether it has the length that was asked for
    merged       False where the parts stand side by side, for want of time to bring them together
    read, left_out  pieces of the text, by their offsets; `read_share` of its characters were read
    unsupported  numbers of the summary that the text does not have
    """

    text: str
    kept: bool
    merged: bool
    read: tuple[Span, ...]
    left_out: tuple[Span, ...]
    read_share: float
    unsupported: tuple[str, ...]
    calls: int
    reply: Reply = field(repr=False)


class Summarize(App):
    """Summarizes texts of any length.

    >>> Summarize(llm)(text, length="one sentence").text  # doctest: +SKIP
    """

    NAME: ClassVar[str] = "summarize"
    LENGTH: ClassVar[Length] = Length(usual=32, most=64)  # of a chunk's sentence

    def __call__(
        self,
        text: str,
        length: str | Target = "one sentence",
        deadline: Duration = None,
        *,
        on_text: OnText | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Summary:
        """Summarize a text. `on_progress` hears the share of the work that is done.

        Raises EmptyPrompt, InvalidRequest (a length that is none), ContextLengthExceeded (a model
        too small for it), and DeadlineInfeasible where there is no time for a single chunk.
        """
        steps = self.steps(text, length, self.due(deadline), on_progress=on_progress)
        return self.run(steps, on_text)

    def steps(
        self,
        text: str,
        length: str | Target,
        due: Deadline,
        *,
        on_progress: Callable[[float], None] | None = None,
    ) -> Steps[Summary]:
        """The same as steps for a driver."""
        target = Target.of(length)
        if not text.strip():
            raise EmptyPrompt("The text is empty.", hint="There is nothing to summarize.")
        lang, density = language(text), self._tokens_per_char(text)
        final = target.length(density, lang)
        limit = self._chunk_tokens(final, due)
        chunk_chars = int(_SAFETY * limit / density)
        pieces = chunks(text, chunk_chars)
        report = on_progress or _quiet
        if len(pieces) == 1:
            reply = yield self._asking(pieces[0].text, target, lang, due, length=final)
            return _summary(text, pieces, [0], target, reply, calls=1)

        sizes = [round(len(piece.text) * density) for piece in pieces]
        planned = plan(sizes, self.left_ms(due), self.model.predict_ms, limit=limit, final=final)
        made, reply = yield from self._parts(pieces, planned, lang, due, report)
        read = sorted(made)
        parts = [made[index] for index in read]
        calls, merged = len(made), False
        try:
            while (grouped := chunks("\n".join(parts), chunk_chars)) and not merged:
                if len(grouped) > 1 and len(grouped) >= len(parts):
                    break  # sentences so long that they do not become fewer
                merged, fewer = len(grouped) == 1, list[str]()
                for number, group in enumerate(grouped):
                    share = 1.0 if merged else min(1.0, _GENEROUS / (len(grouped) - number + 1))
                    reply = yield self._asking(
                        group.text,
                        target if merged else _PART,
                        lang,
                        due,
                        share=share,
                        length=final if merged else None,
                    )
                    fewer.append(reply.text.strip())
                    calls += 1
                parts = fewer
        except DeadlineInfeasible:
            merged = False
        report(1.0)
        return _summary(text, pieces, read, target, reply, calls=calls, parts=parts, merged=merged)

    def _parts(
        self,
        pieces: Sequence[Span],
        planned: Plan,
        lang: Language,
        due: Deadline,
        report: Callable[[float], None],
    ) -> Steps[tuple[dict[int, str], Reply]]:
        """Sentences of as many chunks as there is time for, by number, and the last reply. What is
        dense with tokens, or was cut off before its first word, is left out."""
        made: dict[int, str] = {}
        last: Reply | None = None
        refusal: DeadlineInfeasible | ContextLengthExceeded | None = None
        fair = True  # until a fair share of the time turns out to be too little
        pace, slowest_ms = 1.0, 0.0  # times the planned milliseconds; of a part so far
        order = spread(len(pieces))
        for number, index in enumerate(order):  # grows by what is tried again
            left_ms = self.left_ms(due)
            part_ms = pace * planned.part_ms
            spare_ms = left_ms - pace * planned.reduce_ms
            if made and _PLANNED_SHARE * spare_ms < part_ms:
                break
            share = 1.0
            if made and not math.isinf(left_ms):
                waiting = min(len(order) - number, max(1, int(spare_ms / part_ms))) if fair else 1
                share = min(1.0, _GENEROUS / waiting) * spare_ms / left_ms
            try:
                reply = yield self._asking(pieces[index].text, _PART, lang, due, share=share)
            except ContextLengthExceeded as error:
                refusal = error
            except DeadlineInfeasible as error:
                refusal = error
                if not made or not fair or error.feasible_ms > spare_ms:
                    break
                fair = False
                order.append(index)
            else:
                if found := reply.text.strip():
                    made[index], last = found, reply
                    slowest_ms = max(slowest_ms, left_ms - self.left_ms(due))
                    if not math.isinf(left_ms):
                        pace = min(1.0, _GENEROUS * slowest_ms / planned.part_ms)
                    report(_PLANNED_SHARE * len(made) / max(planned.chunks, len(made)))
        if last is None:
            raise refusal or DeadlineInfeasible(
                budget_ms=max(0.0, self.left_ms(due)),
                feasible_ms=planned.part_ms + planned.reduce_ms,
                why="the model said nothing",
            )
        return made, last

    def _asking(
        self,
        body: str,
        target: Target,
        lang: Language,
        due: Deadline,
        *,
        share: float = 1.0,
        length: Length | None = None,
    ) -> Ask:
        """`length` is given for the summary itself, not for the parts on the way to it."""
        most = (length or self.LENGTH).most
        message = {"role": "user", "content": prompt(body, target, lang)}
        return self.asking([message], due, share=share, max_tokens=most, shown=length is not None)

    def _tokens_per_char(self, text: str) -> float:
        """Measured at the beginning, in the middle and at the end."""
        places = (0, max(0, (len(text) - _SAMPLE) // 2), max(0, len(text) - _SAMPLE))
        sample = "".join(text[place : place + _SAMPLE] for place in dict.fromkeys(places))
        return max(0.05, self.count(sample) / len(sample))

    def _chunk_tokens(self, final: Length, due: Deadline) -> int:
        """Tokens of a chunk: fewer on a slow model, so that several are read in the time. A model
        must hold a few parts at once to bring them together."""
        context = self.model.context_length
        room = context - _FRAME_TOKENS - max(final.most, self.LENGTH.most)
        least = 3 * self.LENGTH.most
        if room < least:
            raise ContextLengthExceeded(
                prompt_tokens=context - room + least, context_length=context
            )
        in_time = self.prompt_room(due, self.LENGTH, share=_CHUNK_SHARE) - _FRAME_TOKENS
        return max(least, min(_CHUNK_TOKENS, room, in_time))


def plan(
    sizes: Sequence[int],
    left_ms: float,
    predict_ms: Callable[[int, int], float],
    *,
    limit: int,
    final: Length,
) -> Plan:
    """How many chunks of `sizes` tokens can be read in `left_ms`, so that their sentences can still
    be brought together into an answer of the `final` length. At least 1.

    predict_ms  (prompt tokens, answer tokens) to milliseconds; limit: tokens of one prompt's text

    >>> brief = Length(usual=30, most=60)
    >>> plan([600] * 9, 1000.0, lambda n, m: 0.1 * n + m, limit=600, final=brief)
    Plan(chunks=8, part_ms=99.2, reduce_ms=62.8...)
    """
    usual = Summarize.LENGTH.usual
    size = -(-sum(sizes) // len(sizes))
    part_ms = predict_ms(size + _FRAME_TOKENS, usual)

    def reduce_ms(count: int) -> float:
        total, tokens = 0.0, count * usual
        while tokens > limit:
            groups = -(-tokens // limit)
            total += groups * predict_ms(limit + _FRAME_TOKENS, usual)
            tokens = groups * usual
        return total + predict_ms(tokens + _FRAME_TOKENS, final.usual)

    low, high = 1, len(sizes)
    while low < high:
        middle = (low + high + 1) // 2
        if middle * part_ms + reduce_ms(middle) <= _PLANNED_SHARE * left_ms:
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
    even = size / -(-size // most_chars)
    found: list[Span] = []
    start = end = -1
    for sentence in sentences(text, longest=most_chars):
        if start >= 0 and (end - start >= even or sentence.end - start > most_chars):
            found.append(Span(start, end, text[start:end]))
            start = -1
        if start < 0:
            start = sentence.start
        end = sentence.end
    found.append(Span(start, end, text[start:end]))
    return found


def prompt(body: str, target: Target, lang: Language) -> str:
    """What is asked of the model.

    >>> prompt("A text.", Target(1, "sentences"), "en")
    'Summarize in one sentence:\\n\\nA text.'
    """
    return f"{target.instruction(lang)}\n\n{without_blank_lines(body)}"


def _summary(
    text: str,
    pieces: Sequence[Span],
    read: Sequence[int],
    target: Target,
    reply: Reply,
    *,
    calls: int,
    parts: Sequence[str] | None = None,
    merged: bool = True,
) -> Summary:
    found = reply.text.strip() if parts is None else "\n".join(parts)
    known = set(read)
    total = sum(len(piece.text) for piece in pieces)
    return Summary(
        text=found,
        kept=target.met_by(found),
        merged=merged,
        read=tuple(pieces[index] for index in read),
        left_out=tuple(piece for index, piece in enumerate(pieces) if index not in known),
        read_share=sum(len(pieces[index].text) for index in read) / total,
        unsupported=unsupported_numbers(found, [pieces[index].text for index in read]),
        calls=calls,
        reply=reply,
    )


def _quiet(share: float) -> None:
    pass
