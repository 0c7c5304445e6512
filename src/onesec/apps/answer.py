"""Answer: a question about a long text, answered from the passages that speak of it.

    found = Answer(llm)("Who may return goods?", text, deadline="1s")
    print(found.text, [text[c.start : c.end] for c in found.citations])

The text is cut into passages, these are ranked for the question, and as many of the best go to the
model as fit its context and the time. It must not know where texts come from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from onesec.core.deadline import Deadline, Duration
from onesec.core.errors import DeadlineInfeasible, EmptyPrompt
from onesec.core.fitted import FitReport

from .ask import TEMPLATE_TOKENS, Length, Message, OnText, Reply, Steps
from .base import App, check_text
from .cite import supports, unsupported_numbers
from .headings import Heading, headings
from .rank import rank
from .text import Language, Span, is_blank, language, sentences, without_blank_lines

INSTRUCTION: Mapping[Language, str] = {
    "en": "Answer from the text. If it does not say, reply: {missing}",
    "zh": "根据文章回答。如果没有提到，就回答：{missing}",
}
MISSING: Mapping[Language, str] = {"en": "The text does not say.", "zh": "文中没有提到。"}
_QUESTION: Mapping[Language, str] = {"en": "Question: {}", "zh": "问题：{}"}
_NOT_SAID = re.compile(
    r"(?:text|document|passage|it) does(?:n['’]t| not) (?:say|mention|state)"
    r"|not (?:mentioned|stated|said) in the text"
    r"|(?:文中|文章|原文)(?:里|中)?(?:并?没有|未)(?:提到|提及|说明|说)",
    re.IGNORECASE,
)
_MOST_PASSAGES = 8
_PASSAGE_SENTENCES = 6
_PASSAGE_CHARS: Mapping[Language, int] = {"en": 600, "zh": 200}  # about as many tokens
_READING_SHARE, _CUTTING_SHARE = 0.35, 0.2  # of the time, for cutting and ranking; for cutting
_LOOK_EVERY = 64  # passages between two looks at the clock


@dataclass(frozen=True, slots=True)
class Citation:
    """Characters `start` to `end` of the text bear out a part of the answer."""

    start: int
    end: int
    text: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TextAnswer:
    """The answer, and what it rests on.

    found        False where the model said that the text does not say
    citations    sentences of the text that bear it out, best first
    passages     what the model was given, in the text's order
    fitted       what of them it was not given after all, for want of time; None: it had them whole
    unsupported  numbers of the answer that stand in none of the passages, nor in the question
    read_chars   characters of the text that were searched: all of them, if there was time
    """

    text: str
    found: bool
    citations: tuple[Citation, ...]
    passages: tuple[Span, ...]
    fitted: FitReport | None
    unsupported: tuple[str, ...]
    read_chars: int
    reply: Reply = field(repr=False)


class Answer(App):
    """Answers questions about texts of any length.

    >>> Answer(llm)("How long is the warranty?", manual).text  # doctest: +SKIP
    """

    NAME: ClassVar[str] = "answer"
    LENGTH: ClassVar[Length] = Length(usual=32, most=160)
    AFTER_MS: ClassVar[float] = 1.5  # sources are looked up in the reply

    def __call__(
        self, question: str, text: str, deadline: Duration = None, *, on_text: OnText | None = None
    ) -> TextAnswer:
        """Answer a question from a text. Raises EmptyPrompt, ContextLengthExceeded (a question of
        half the context or more), and what the model raises, DeadlineInfeasible first of all."""
        return self.call(lambda due: self.steps(question, text, due), deadline, on_text)

    def steps(self, question: str, text: str, due: Deadline) -> Steps[TextAnswer]:
        """The same as steps for a driver."""
        check_text("question", question)
        check_text("text", text)
        lang = language(question)
        fixed = self.checked("question", question) + self.count(_frame("", [], lang))
        if is_blank(text):
            raise EmptyPrompt("The text is empty.", hint="There is nothing to answer from.")
        left_ms, now_ns = self.left_ms(due), self.clock.now_ns()
        cutting = due.part(_CUTTING_SHARE, now_ns=now_ns)
        reading = due.part(_READING_SHARE, now_ns=now_ns)
        pieces: list[Span] = []
        for piece in _passages(text):
            pieces.append(piece)
            looks = len(pieces) % _LOOK_EVERY == 0
            if looks and self.left_ms(cutting) < 0.0:
                break
        order, seen = rank(
            question,
            [piece.text for piece in pieces],
            enough=lambda: self.left_ms(reading) < 0.0,
        )
        best = [index for index, _ in order]
        # A short text is given whole; so is the beginning of one in which nothing matches (another
        # language, other words).
        if not best or seen <= _MOST_PASSAGES:
            best += [index for index in range(seen) if index not in best]
        chosen = self._fitting([pieces[index] for index in best], due, fixed)
        messages = [_message(question, chosen, lang)]
        try:
            reply = yield self.asking(messages, due, fit="extract")
        except DeadlineInfeasible as refusal:
            if pieces[seen - 1].end >= len(text.rstrip()):
                raise
            # More time would be read away too: only a share of it is the model's.
            spent_ms = left_ms - refusal.budget_ms
            all_ms = refusal.feasible_ms / (1.0 - _READING_SHARE)
            raise DeadlineInfeasible(
                budget_ms=refusal.budget_ms,
                feasible_ms=max(refusal.feasible_ms, all_ms - spent_ms),
                why=refusal.why,
            ) from None
        answer = reply.text.strip()
        sources = [piece.text for piece in chosen]
        found = _NOT_SAID.search(answer) is None
        return TextAnswer(
            text=answer,
            found=found,
            citations=_citations(answer, chosen, question) if found else (),
            passages=tuple(chosen),
            fitted=reply.fitted,
            unsupported=unsupported_numbers(answer, [*sources, question]),
            read_chars=pieces[seen - 1].end,
            reply=reply,
        )

    def _fitting(self, best: Sequence[Span], due: Deadline, fixed: int) -> list[Span]:
        """The best passages that fit, and the very best in any case, in the text's order."""
        room = self.prompt_room(due, self.LENGTH) - fixed
        context = self.model.context_length
        most = max(context // 8, context - self.LENGTH.most - TEMPLATE_TOKENS - fixed - 2)
        chosen: list[Span] = []
        for piece in best:
            tokens = self.count(piece.text) + 2
            if tokens > room and chosen:
                break
            room -= tokens
            if tokens > most:  # only the best one, dense with tokens: the context holds less of it
                kept = self.shortened(piece.text, most)
                piece = Span(piece.start, piece.start + len(kept), kept)
            chosen.append(piece)
            if len(chosen) == _MOST_PASSAGES:
                break
        return sorted(chosen, key=lambda piece: piece.start)


def passages(text: str) -> list[Span]:
    """Neighbouring sentences together, up to a passage's length; a blank line begins a new one, and
    so does a heading, which stays with what it stands above.

    >>> [p.text for p in passages("One. Two.\\n\\nThree.")]
    ['One. Two.', 'Three.']
    """
    return list(_passages(text))


def _passages(text: str) -> Iterator[Span]:
    longest = _PASSAGE_CHARS[language(text)]
    start = end = count = 0
    above = Heading(0, 0, "")  # the last one that has begun
    ahead = headings(text)
    coming = next(ahead, None)
    for sentence in sentences(text, longest=longest):
        gap = text[end : sentence.start]
        full = sentence.end - start > longest or count == _PASSAGE_SENTENCES
        below = end <= above.end  # nothing but the heading is in the passage yet
        begins = False
        while coming is not None and coming.start <= sentence.start:
            above, begins = coming, True
            coming = next(ahead, None)
        if count and (full or begins or (gap.count("\n") > 1 and not below)):
            yield Span(start, end, text[start:end])
            count = 0
        if not count:
            start = sentence.start
        end = sentence.end
        count += 1
    if count:
        yield Span(start, end, text[start:end])


def _message(question: str, chosen: Sequence[Span], lang: Language) -> Message:
    return {"role": "user", "content": _frame(question, [piece.text for piece in chosen], lang)}


def _frame(question: str, texts: Sequence[str], lang: Language) -> str:
    parts = [
        INSTRUCTION[lang].format(missing=MISSING[lang]),
        *(without_blank_lines(text) for text in texts),
        _QUESTION[lang].format(question.strip()),
    ]
    return "\n\n".join(parts)


def _citations(answer: str, chosen: Sequence[Span], question: str) -> tuple[Citation, ...]:
    found = supports(answer, [piece.text for piece in chosen], question=question)
    return tuple(
        Citation(
            chosen[one.source].start + one.span.start,
            chosen[one.source].start + one.span.end,
            one.span.text,
            one.score,
        )
        for one in found
    )
