"""Summarize: a text in a given length; a long one in parts, as many as the time allows.

    summary = Summarize(llm)(text, length="40 words", deadline="1s")
    print(summary.text, f"{summary.read_share:.0%} read")

A text that does not fit the context is cut into chunks, each is summarized in one sentence, and the
sentences are summarized in turn. `plan` says beforehand for how many chunks there is time; they are
spread over the whole text, and what was left out is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from onesec.core.deadline import Deadline, Duration
from onesec.core.errors import ContextLengthExceeded, DeadlineInfeasible, EmptyPrompt

from .ask import Ask, Length, OnText, Reply, Steps
from .base import App, check_text
from .chunks import FRAME_TOKENS, PLANNED_SHARE, Plan, chunks, plan, spread
from .cite import unsupported_numbers
from .target import Target
from .text import Language, Span, is_blank, language, without_blank_lines

_CHUNK_TOKENS = 600
_CHUNK_SHARE = 0.25  # of the time that a chunk may take at most
_GENEROUS = 1.5  # times its fair share may a call take: most need less than predicted
_SAFETY = 0.85  # chunks are cut by characters: room for places that need more tokens than usual
_SAMPLE = 600  # characters of each of three places that tell how many make a token
_PART = Target(1, "sentences")


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
        return self.call(
            lambda due: self.steps(text, length, due, on_progress=on_progress), deadline, on_text
        )

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
        check_text("text", text)
        if is_blank(text):
            raise EmptyPrompt("The text is empty.", hint="There is nothing to summarize.")
        lang, density = language(text), self._tokens_per_char(text)
        final = target.length(density, lang)
        limit = self._chunk_tokens(len(text) * density / _SAFETY, final, due)
        chunk_chars = int(_SAFETY * limit / density)
        pieces = chunks(text, chunk_chars)
        report = on_progress or _quiet
        if len(pieces) == 1:
            reply = yield self._asking(pieces[0].text, target, lang, due, length=final)
            return _summary(text, pieces, [0], target, reply, calls=1)

        sizes = [round(len(piece.text) * density) for piece in pieces]
        planned = plan(
            sizes,
            self.left_ms(due),
            self.model.predict_ms,
            limit=limit,
            part=self.LENGTH,
            final=final,
        )
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
                    rest = (
                        1.0 if merged else len(grouped) - number + 1.0
                    )  # the last call is one too
                    reply = yield self._asking(
                        group.text,
                        target if merged else _PART,
                        lang,
                        due,
                        weight=1.0 if merged else _GENEROUS,
                        of=rest,
                        length=final if merged else None,
                    )
                    calls += 1
                    if found := reply.text.strip():
                        fewer.append(found)
                if not fewer:  # cut off before the first word: the parts are what there is
                    merged = False
                    break
                parts = fewer
        except (DeadlineInfeasible, ContextLengthExceeded):  # denser with tokens than the text was
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
            if made and PLANNED_SHARE * spare_ms < part_ms:
                break
            waiting, reserve_ms = 1, 0.0
            if made and not math.isinf(left_ms):
                reserve_ms = pace * planned.reduce_ms
                if fair:
                    waiting = min(len(order) - number, max(1, int(spare_ms / part_ms)))
            try:
                reply = yield self._asking(
                    pieces[index].text,
                    _PART,
                    lang,
                    due,
                    weight=_GENEROUS,
                    of=waiting,
                    reserve_ms=reserve_ms,
                )
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
                    report(PLANNED_SHARE * len(made) / max(planned.chunks, len(made)))
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
        weight: float = 1.0,
        of: float = 1.0,
        reserve_ms: float = 0.0,
        length: Length | None = None,
    ) -> Ask:
        """`length` is given for the summary itself, not for the parts on the way to it."""
        most = (length or self.LENGTH).most
        message = {"role": "user", "content": prompt(body, target, lang)}
        return self.asking(
            [message],
            due,
            weight=weight,
            of=of,
            reserve_ms=reserve_ms,
            max_tokens=most,
            shown=length is not None,
        )

    def _tokens_per_char(self, text: str) -> float:
        """Measured at the beginning, in the middle and at the end."""
        places = (0, max(0, (len(text) - _SAMPLE) // 2), max(0, len(text) - _SAMPLE))
        sample = "".join(text[place : place + _SAMPLE] for place in dict.fromkeys(places))
        return max(0.05, self.count(sample) / len(sample))

    def _chunk_tokens(self, size: float, final: Length, due: Deadline) -> int:
        """Tokens of a chunk of a text of `size`: fewer on a slow model, so that several are read in
        the time. A model must hold a few parts at once to bring them together, or all of it."""
        context = self.model.context_length
        room = context - FRAME_TOKENS - max(final.most, self.LENGTH.most)
        least = 3 * self.LENGTH.most
        if size < room < least:
            return room
        if room < least:
            raise ContextLengthExceeded(
                prompt_tokens=context - room + least,
                context_length=context,
                message=f"A summary of up to {final.most} tokens and a part of the text take "
                f"{context - room + least} tokens; this model holds {context}.",
                hint="Ask for a shorter summary, or take a model with a longer context.",
            )
        in_time = self.prompt_room(due, self.LENGTH, share=_CHUNK_SHARE) - FRAME_TOKENS
        return max(least, min(_CHUNK_TOKENS, room, in_time))


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
