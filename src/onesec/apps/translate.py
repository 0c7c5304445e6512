"""Translate: English and Chinese, sentence by sentence, each with its share of the time.

    translate = Translate(llm, glossary={"cloud disk": "云盘"})
    print(translate("Where is my cloud disk?", deadline="500ms").text)
    for piece in translate.live(microphone, deadline="300ms"):      # text as it is spoken
        print(piece.text)

It must not know where the text comes from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from onesec.core.clock import Clock
from onesec.core.deadline import Deadline, Duration
from onesec.core.errors import (
    ContextLengthExceeded,
    DeadlineInfeasible,
    EmptyPrompt,
    InvalidRequest,
)
from onesec.core.request import PolicyName

from .ask import Length, Model, OnText, Reply, Steps
from .base import App, check_text, of_the_whole
from .text import Language, SentenceStream, Span, is_blank, language, sentences

_PROMPT: Mapping[Language, str] = {
    "en": "Translate into Chinese{terms}: {text}",
    "zh": "翻译成英语{terms}：{text}",
}
_TERMS: Mapping[Language, tuple[str, str]] = {"en": (" ({})", "; "), "zh": ("（{}）", "；")}
_LONGEST = 400  # characters of one request; longer sentences are cut between words
_MOST_TERMS = 5  # of the glossary in one request
_LETTER = re.compile(r"[^\W\d_]")
_GENEROUS = 2.0  # times its fair share may a sentence take: what comes first is done first
_SPARE = 1.25  # times the smallest feasible time is given where a share was too little
_HOPELESS = 4  # sentences in a row that did not fit their time; then the rest is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One sentence's translation. `start` and `end` are its offsets in the text; `text` is the
    source itself where there was nothing to translate, and empty where there was no time.
    `missing_terms` are glossary entries of the sentence that the reply does not hold."""

    start: int
    end: int
    source: str
    text: str
    done: bool
    missing_terms: tuple[str, ...] = ()
    reply: Reply | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """A whole text's translation: `text`, its sentences, and whether all of them are done. Where
    the time was over, the last of `sentences` is all that was left, as one."""

    text: str
    target: Language
    sentences: tuple[Sentence, ...]
    complete: bool


class Translate(App):
    """Translates between English and Chinese; `to` fixes the target (default: the language that the
    text is not in). `glossary` maps terms to their translation, in either direction.

    Raises InvalidRequest on any other language.

    >>> Translate(llm)("早上好。").text  # doctest: +SKIP
    'Good morning.'
    """

    NAME: ClassVar[str] = "translate"
    LENGTH: ClassVar[Length] = Length(usual=24, most=256)

    def __init__(
        self,
        model: Model,
        *,
        to: Language | None = None,
        glossary: Mapping[str, str] | None = None,
        deadline: Duration = None,
        gear: str | None = None,
        min_gear: str | None = None,
        policy: PolicyName = "balanced",
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            model, deadline=deadline, gear=gear, min_gear=min_gear, policy=policy, clock=clock
        )
        if to is not None and to not in _PROMPT:
            raise InvalidRequest(f"There is no language {to!r}.", hint='It is "en" or "zh".')
        self.to = to
        self.glossary = _both_ways(glossary or {})

    def __call__(
        self, text: str, deadline: Duration = None, *, on_text: OnText | None = None
    ) -> Translation:
        """Translate a text within the deadline; its sentences share the time by their length.

        Where the time is not enough for all of them, the rest stays untranslated and `complete` is
        False; a sentence of more tokens than the context holds does too. Raises EmptyPrompt, and
        DeadlineInfeasible or ContextLengthExceeded where not one sentence can be done.
        """
        return self.call(lambda due: self.steps(text, due), deadline, on_text)

    def live(
        self,
        pieces: Iterable[str],
        deadline: Duration = None,
        *,
        on_refused: Callable[[DeadlineInfeasible | ContextLengthExceeded], object] | None = None,
    ) -> Iterator[Sentence]:
        """Translate text that arrives in pieces: a sentence as soon as it is complete, each with
        the whole `deadline` for itself, counted from then. One that cannot be done in that time
        comes with `done` False, after `on_refused` was told why, and the stream goes on.
        """
        stream = SentenceStream(longest=_LONGEST)
        for piece in _with_end(pieces):
            for span in stream.flush() if piece is None else stream.push(piece):
                due = self.due(deadline)
                start_ms = self.left_ms(due)
                try:
                    yield self.run(self.sentence(span, due))
                except (DeadlineInfeasible, ContextLengthExceeded) as error:
                    if isinstance(error, DeadlineInfeasible):
                        error = of_the_whole(error, start_ms, why="one sentence")
                    if on_refused is not None:
                        on_refused(error)
                    yield _untranslated(span)

    def sentence(self, span: Span, due: Deadline) -> Steps[Sentence]:
        """One sentence by itself, as steps for a driver. Raises DeadlineInfeasible."""
        return self._sentence(span, self.to, due, 1.0)

    def steps(self, text: str, due: Deadline) -> Steps[Translation]:
        """The same as steps for a driver."""
        check_text("text", text)
        if is_blank(text):
            raise EmptyPrompt("There is nothing to translate.", hint="Write something.")
        target, start_ms = self.to or _other(language(text)), self.left_ms(due)
        done: list[Sentence] = []
        stop = len(text.rstrip())
        failures, refusal = 0, None
        too_long: ContextLengthExceeded | None = None  # a sentence, in tokens
        # Sentences are looked for one by one: of a long text the time allows only the first.
        for span in sentences(text, longest=_LONGEST):
            if failures == _HOPELESS or (done and self.left_ms(due) <= 2.0 * self.AFTER_MS):
                done.append(_untranslated(Span(span.start, stop, text[span.start : stop])))
                break
            made = _untranslated(span)
            try:
                share = _GENEROUS * (span.end - span.start) / (stop - span.start)
                made = yield from self._sentence(span, target, due, share)
            except DeadlineInfeasible as error:
                refusal = refusal or error
            except ContextLengthExceeded as error:
                too_long = too_long or error
            failures = 0 if made.done else failures + 1
            done.append(made)
        if refusal is not None and not any(sentence.done for sentence in done):
            raise of_the_whole(refusal, start_ms, why="one sentence")
        if too_long is not None and not any(sentence.done for sentence in done):
            raise too_long
        return Translation(
            text=_joined(text, done, target),
            target=target,
            sentences=tuple(done),
            complete=all(sentence.done for sentence in done),
        )

    def _sentence(
        self, span: Span, target: Language | None, due: Deadline, share: float
    ) -> Steps[Sentence]:
        """Translate one sentence in its share of the time, or in as much as it needs, if there is
        as much. Raises DeadlineInfeasible."""
        source = span.text
        spoken = language(source)
        if not _LETTER.search(source) or spoken == target:
            return Sentence(start=span.start, end=span.end, source=source, text=source, done=True)
        terms = self._terms(source, spoken)
        messages = [{"role": "user", "content": prompt(source, spoken, terms)}]
        most = min(self.LENGTH.most, 16 + 3 * self.count(source))
        try:
            reply = yield self.asking(messages, due, weight=share, max_tokens=most)
        except DeadlineInfeasible as error:
            left_ms = self.left_ms(due) - self.AFTER_MS
            if share >= 1.0 or error.feasible_ms > left_ms:
                raise DeadlineInfeasible(
                    budget_ms=left_ms, feasible_ms=error.feasible_ms, why="one sentence"
                ) from None
            least_ms = _SPARE * error.feasible_ms
            reply = yield self.asking(
                messages, due, weight=share, least_ms=least_ms, max_tokens=most
            )
        text = reply.text.strip()
        found = text.casefold()
        return Sentence(
            start=span.start,
            end=span.end,
            source=source,
            text=text,
            done=bool(text),  # empty: cut off before its first word
            missing_terms=tuple(
                term for term, meant in terms if next(_places(meant, found), None) is None
            ),
            reply=reply,
        )

    def _terms(self, source: str, spoken: Language) -> list[tuple[str, str]]:
        """The glossary's terms in a sentence, in its order, longer ones before their parts."""
        text = source.casefold()
        found: list[tuple[int, int, str, str]] = []
        for term, meant in self.glossary[spoken]:
            for at, end in _places(term, text, ending=r"(?:['’]s|e?s)?(?![a-z\d])"):
                if all(end <= start or at >= other for start, other, *_ in found):
                    found.append((at, end, term, meant))
                    break
        return [(term, meant) for *_, term, meant in sorted(found)[:_MOST_TERMS]]


def prompt(source: str, spoken: Language, terms: Sequence[tuple[str, str]] = ()) -> str:
    """What is asked of the model.

    >>> prompt("Where is my order?", "en", [("order", "订单")])
    'Translate into Chinese (order = 订单): Where is my order?'
    """
    frame, gap = _TERMS[spoken]
    listed = gap.join(f"{term} = {meant}" for term, meant in terms)
    return _PROMPT[spoken].format(terms=frame.format(listed) if listed else "", text=source.strip())


def _places(term: str, text: str, *, ending: str = "") -> Iterator[tuple[int, int]]:
    """Where a term stands in a casefolded text: one in Latin letters where a word begins, and with
    that `ending` of its last word."""
    term = term.casefold()
    if term not in text:  # which most of a glossary is not
        return
    before = r"(?<![a-z\d])" if term[0].isascii() and term[0].isalnum() else ""
    after = ending if term[-1].isascii() and term[-1].isalnum() else ""
    for match in re.finditer(before + re.escape(term) + after, text):
        yield match.span()


def _untranslated(span: Span) -> Sentence:
    return Sentence(start=span.start, end=span.end, source=span.text, text="", done=False)


def _both_ways(glossary: Mapping[str, str]) -> dict[Language, list[tuple[str, str]]]:
    """Pairs by the language of the sentences that their first term stands in, the longest terms
    first: a name that stays as it is stands in either's."""
    pairs: dict[Language, dict[tuple[str, str], None]] = {"en": {}, "zh": {}}
    for term, meant in glossary.items():
        for one, other in ((term.strip(), meant.strip()), (meant.strip(), term.strip())):
            if one and other:
                for spoken in pairs if one == other else (language(one),):
                    pairs[spoken][one, other] = None
    return {
        spoken: sorted(listed, key=lambda pair: -len(pair[0])) for spoken, listed in pairs.items()
    }


def _other(spoken: Language) -> Language:
    return "en" if spoken == "zh" else "zh"


def _joined(text: str, done: Sequence[Sentence], target: Language) -> str:
    """The translations with the line ends that stood between the sentences; between sentences of a
    line a space in English and nothing in Chinese."""
    parts: list[str] = []
    end = 0
    for sentence in done:
        gap = text[end : sentence.start]
        if "\n" in gap:
            parts.append("\n" * gap.count("\n"))
        elif end and target == "en":
            parts.append(" ")
        parts.append(sentence.text)
        end = sentence.end
    return "".join(parts).strip()


def _with_end(pieces: Iterable[str]) -> Iterator[str | None]:
    yield from pieces
    yield None
