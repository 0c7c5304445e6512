"""The words that every maker of training text shares: a turn, a conversation, and their checks.

It must not know any skill, language or tokenizer.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Turn:
    """A question, its answer, and how to recognise another right answer.

    `required`: each entry must occur (alternatives are separated by `|`). `forbidden`: none may.
    `anything_of`: where set, only one of these sentences is right. `source`: where set, a reply
    may hold no word that is neither in it nor in the answer.
    """

    skill: str
    lang: int
    question: str
    answer: str
    required: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    anything_of: tuple[str, ...] = ()
    source: str = ""


@dataclass
class Conversation:
    """The system message (may be empty) and the turns after it."""

    system: str
    turns: list[Turn] = field(default_factory=list)

    def messages(self) -> list[dict[str, str]]:
        """The conversation as chat messages."""
        found = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            found.append({"role": "user", "content": turn.question})
            found.append({"role": "assistant", "content": turn.answer})
        return found


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]
