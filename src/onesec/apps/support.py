"""Support: answers a customer from knowledge entries and records, turn after turn.

    desk = Support(llm, knowledge)                      # knowledge: entries, or a Knowledge store
    chat = desk.conversation(records=[{"order": "4821", "status": "shipped"}])
    answer = chat.ask("Where is my order?", deadline="800ms")
    print(answer.text, answer.sources)

It must not know where entries are stored, nor how replies are computed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

from onesec.core.clock import Clock
from onesec.core.deadline import Deadline, Duration
from onesec.core.errors import ContextLengthExceeded
from onesec.core.fitted import FitReport
from onesec.core.request import PolicyName

from .ask import TEMPLATE_TOKENS, Length, Message, Model, OnText, Reply, Steps
from .base import App, check_text
from .cite import supports, unsupported_numbers
from .rank import rank
from .text import Language, language, one_line, sentences, telling_terms

INSTRUCTION: Mapping[Language, str] = {
    "en": "Answer the customer from these notes. If they do not say, reply: {unknown}",
    "zh": "请根据这些资料回答顾客。资料里没有的，就回答：{unknown}",
}
UNKNOWN: Mapping[Language, str] = {
    "en": "Sorry, I don't have that information.",
    "zh": "抱歉，我没有这方面的信息。",
}
_RECORDS: Mapping[Language, str] = {"en": "Records:", "zh": "记录："}
_COLON: Mapping[Language, str] = {"en": ": ", "zh": "："}
NOTES = 8  # entries in one prompt at most
_NOTE_CHARS = 600  # of one entry; the rest of a longer one is left out, at a sentence's end
_FEW_TERMS = 2  # a question with no more of them may speak of what was asked before

_UNKNOWN_WORDS = re.compile(
    r"(?<!you )do(?:n['’]t| not) (?:have (?:that|this|any|the) information|know)"
    r"|have no information"
    r"|没有(?:这方面|关于|[^，。]{0,12})的?信息|(?<![您你若])(?<!如果)(?:不清楚|查不到)(?!时|的)",
    re.IGNORECASE,
)

Record = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """A piece of knowledge: an id that citations use, a title (may be empty), and a text."""

    id: str
    text: str
    title: str = ""


@runtime_checkable
class Library(Protocol):
    """Where entries are looked up; `onesec.knowledge.Knowledge` is one."""

    def search(self, question: str, limit: int = NOTES) -> Sequence[Entry]:
        """The entries that speak of a question, best first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportAnswer:
    """What the customer reads, and what it rests on.

    known        False where the model said that it does not know
    sources      ids of the entries that bear the text out, best first
    records      indices of the records that do
    shown        ids of all entries that the model was given
    fitted       what of these, the records and the turns it was not given after all, for want of
                 time; None: it had them whole
    unsupported  numbers of the text that stand neither in entries, records nor the conversation
    forgotten    earlier turns that were dropped for room
    """

    text: str
    known: bool
    sources: tuple[str, ...]
    records: tuple[int, ...]
    shown: tuple[str, ...]
    fitted: FitReport | None
    unsupported: tuple[str, ...]
    forgotten: int
    reply: Reply = field(repr=False)


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and what was answered."""

    question: str
    answer: str


class Entries:
    """A Library of a few entries in memory.

    >>> Entries([Entry("fee", "Delivery costs $5.")]).search("delivery?")[0].id
    'fee'
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = list(entries)
        self._texts = [f"{entry.title} {entry.text}" for entry in self._entries]

    def search(self, question: str, limit: int = NOTES) -> list[Entry]:
        """The entries that share a term with the question, best first."""
        return [self._entries[index] for index, _ in rank(question, self._texts)[0][:limit]]


class Support(App):
    """The support desk. `knowledge` is a Library or a plain list of entries.

    >>> Support(llm, [Entry("fee", "Delivery costs $5.")]).ask("Delivery fee?")  # doctest: +SKIP
    """

    NAME: ClassVar[str] = "support"
    LENGTH: ClassVar[Length] = Length(usual=32, most=160)
    AFTER_MS: ClassVar[float] = 1.5  # sources are looked up in the reply

    def __init__(
        self,
        model: Model,
        knowledge: Library | Iterable[Entry] = (),
        *,
        deadline: Duration = None,
        gear: str | None = None,
        min_gear: str | None = None,
        policy: PolicyName = "balanced",
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            model, deadline=deadline, gear=gear, min_gear=min_gear, policy=policy, clock=clock
        )
        # A store may be iterable too, so it is told by how it is searched.
        self.knowledge: Library = (
            knowledge if isinstance(knowledge, Library) else Entries(knowledge)
        )

    def ask(
        self,
        question: str,
        deadline: Duration = None,
        *,
        records: Sequence[Record] = (),
        on_text: OnText | None = None,
    ) -> SupportAnswer:
        """Answer one question by itself. Raises as `Conversation.ask` does."""
        return self.conversation(records=records).ask(question, deadline, on_text=on_text)

    def conversation(
        self, *, records: Sequence[Record] = (), memory_tokens: int | None = None
    ) -> Conversation:
        """A conversation with one customer; `memory_tokens` are for its earlier turns (default: a
        quarter of the context)."""
        memory = self.model.context_length // 4 if memory_tokens is None else memory_tokens
        return Conversation(self, records=list(records), memory_tokens=memory)


@dataclass(slots=True)
class Conversation:
    """One customer's turns. Old ones are first cut to the first sentence of their answer, then
    dropped, oldest first, so that they keep within `memory_tokens`."""

    desk: Support
    records: list[Record]
    memory_tokens: int
    turns: list[Turn] = field(default_factory=list)

    def ask(
        self, question: str, deadline: Duration = None, *, on_text: OnText | None = None
    ) -> SupportAnswer:
        """Answer the customer and remember the turn; `on_text` is called with text as it comes.

        Raises EmptyPrompt, ContextLengthExceeded (a question of half the context or more), and what
        the model raises: DeadlineInfeasible first of all. Then nothing is remembered.
        """
        answer = self.desk.call(lambda due: self.steps(question, due), deadline, on_text)
        self.turns.append(Turn(question, answer.text))
        return answer

    def steps(self, question: str, due: Deadline) -> Steps[SupportAnswer]:
        """The same as steps for a driver; the caller appends to `turns`."""
        check_text("question", question)
        desk, lang = self.desk, language(question)
        records = [_record(record) for record in self.records]
        fixed = desk.checked("question", question) + desk.count(_header(lang)) + 4
        given = sum(desk.count(record) + 2 for record in records)
        fixed += given
        context = desk.model.context_length
        if given and fixed + TEMPLATE_TOKENS >= context:
            raise ContextLengthExceeded(
                prompt_tokens=fixed + TEMPLATE_TOKENS,
                context_length=context,
                message=f"The records have {given} tokens; with the question and its frame that is "
                f"{fixed + TEMPLATE_TOKENS}, and this model holds {context}.",
                hint="Give only the records that matter for the question.",
            )
        room = desk.prompt_room(due, desk.LENGTH)
        memory, forgotten = self._memory(min(self.memory_tokens, (room - fixed) // 2))
        room -= fixed + sum(desk.count(turn.question + turn.answer) + 12 for turn in memory)
        entries = self._entries(question)
        notes = self._notes(entries, room, lang)
        messages = _messages(question, notes, records, memory, lang)
        reply = yield desk.asking(messages, due, fit="extract")
        text = reply.text.strip()
        said = [turn.question + "\n" + turn.answer for turn in memory]
        grounds = [*notes, *records, question, *said]
        known = not says_unknown(text)
        found = supports(text, [*notes, *records], question=question) if known else []
        used = dict.fromkeys(one.source for one in found)
        shown = tuple(entry.id for entry in entries[: len(notes)])
        return SupportAnswer(
            text=text,
            known=known,
            sources=tuple(shown[index] for index in used if index < len(notes)),
            records=tuple(index - len(notes) for index in used if index >= len(notes)),
            shown=shown,
            fitted=reply.fitted,
            unsupported=unsupported_numbers(text, grounds),
            forgotten=forgotten,
            reply=reply,
        )

    def _entries(self, question: str) -> list[Entry]:
        """What is known of the question; one of few words is looked up with the one before it."""
        library = self.desk.knowledge
        found = list(library.search(question, NOTES))
        if self.turns and len(telling_terms(question)) <= _FEW_TERMS:
            more = library.search(f"{self.turns[-1].question} {question}", NOTES)
            found += [entry for entry in more if entry not in found]
        return found[:NOTES]

    def _notes(self, entries: Sequence[Entry], room: int, lang: Language) -> list[str]:
        """The best entries that fit; the very best in any case, so that a lack of time is the
        engine's to refuse and never an answer from nothing."""
        notes: list[str] = []
        most = self.desk.model.context_length // 2
        for entry in entries:
            note = _note(entry, lang)
            room -= self.desk.count(note) + 2
            if room < 0 and notes:
                break
            if room < 0:  # dense with tokens: the context may hold less of it
                note = self.desk.shortened(note, most)
            notes.append(note)
        return notes

    def _memory(self, room: int) -> tuple[list[Turn], int]:
        """The latest turns that fit `room` tokens, and how many older ones are left out."""
        kept: list[Turn] = []
        for turn in reversed(self.turns):
            for form in (turn, replace(turn, answer=_first_sentence(turn.answer))):
                need = self.desk.count(form.question + form.answer) + 12
                if need <= room:
                    room -= need
                    kept.append(form)
                    break
            else:
                break
        return kept[::-1], len(self.turns) - len(kept)


def says_unknown(text: str) -> bool:
    """Whether a reply says that the notes do not hold the answer; what the customer may not know
    does not count.

    >>> says_unknown("Sorry, I don't have that information."), says_unknown("It costs $5.")
    (True, False)
    """
    return _UNKNOWN_WORDS.search(text) is not None


def _messages(
    question: str,
    notes: Sequence[str],
    records: Sequence[str],
    memory: Sequence[Turn],
    lang: Language,
) -> list[Message]:
    lines = [_header(lang), *(f"- {note}" for note in reversed(notes))]
    if records:
        lines += [_RECORDS[lang], *(f"- {record}" for record in records)]
    messages = [{"role": "system", "content": "\n".join(lines)}]
    for turn in memory:
        messages.append({"role": "user", "content": turn.question})
        messages.append({"role": "assistant", "content": turn.answer})
    return [*messages, {"role": "user", "content": question.strip()}]


def _header(lang: Language) -> str:
    return INSTRUCTION[lang].format(unknown=UNKNOWN[lang])


def _note(entry: Entry, lang: Language) -> str:
    title, text = one_line(entry.title), one_line(entry.text)
    if len(text) > _NOTE_CHARS:
        kept = ""
        for span in sentences(text, longest=_NOTE_CHARS):
            if span.end > _NOTE_CHARS:
                break
            kept = text[: span.end]
        text = kept
    return f"{title}{_COLON[lang]}{text}" if title and text else title or text


def _record(record: Record) -> str:
    if isinstance(record, str):
        return one_line(record)
    return ", ".join(
        f"{one_line(str(key))}: {one_line(str(value))}" for key, value in record.items()
    )


def _first_sentence(text: str) -> str:
    return next((span.text for span in sentences(text)), "")
