"""Target: how long a summary shall be, in a person's words, in a prompt's, and measured.

It must not know how summaries are made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from onesec.core.errors import InvalidRequest

from .ask import Length
from .text import Language, language, sentences, words

_ONE: Mapping[Language, str] = {"en": "Summarize in one sentence:", "zh": "用一句话概括："}
_SENTENCES: Mapping[Language, str] = {
    "en": "Summarize in {n} sentences:",
    "zh": "用{n}句话概括：",
}
_WORDS: Mapping[Language, str] = {
    "en": "Summarize in at most {n} words:",
    "zh": "用不超过{n}字概括：",
}
_CHARACTERS: Mapping[Language, str] = {
    "en": "Summarize in at most {n} characters:",
    "zh": _WORDS["zh"],
}
_LENGTH = re.compile(
    r"[\s≤<~约]*(?:(?:at most|up to|under|within|max\.?|不超过|最多|少于)\s*)?"
    r"(?<![a-z\d])(?P<n>\d{1,4}|one|a|two|three|four|five|[一二两三四五])\s*"
    r"(?P<unit>(?:sentence|word|character)s?(?![a-z])|句话?|个?字)(?:\s*(?:以内|之内))?[.。]?",
    re.IGNORECASE,
)
_UNIT = re.compile(r"sentence|word|character|句话|字", re.IGNORECASE)
_CHARS: Mapping[str, Mapping[Language, int]] = {  # of one
    "sentences": {"en": 120, "zh": 30},
    "words": {"en": 6, "zh": 1},
    "characters": {"en": 1, "zh": 1},
}
_NUMBERS = {"one": 1, "a": 1, "two": 2, "three": 3, "four": 4, "five": 5} | dict(
    zip("一二两三四五", (1, 2, 2, 3, 4, 5), strict=True)
)


@dataclass(frozen=True, slots=True)
class Target:
    """How long a summary shall be: so many sentences, or at most so many words or characters (both
    are 字 in Chinese)."""

    count: int
    unit: Literal["sentences", "words", "characters"]

    def __post_init__(self) -> None:
        most = 20 if self.unit == "sentences" else 2000
        if not 1 <= self.count <= most:
            raise InvalidRequest(
                f"A summary of {self.count} {self.unit} was asked for.",
                hint=f"Choose 1 to {most} {self.unit}.",
            )

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
        return cls(_NUMBERS.get(number) or int(number), _unit(match["unit"].lower()))

    @classmethod
    def said(cls, prompt: str) -> Target | None:
        """The length that a prompt asks for, wherever it says so; None where it does not.

        >>> Target.said("请用60字总结"), Target.said("It has 3 rooms.")
        (Target(count=60, unit='words'), None)
        """
        for unit in _UNIT.finditer(prompt):
            # Up to the letter that would make "a wordy text" of "a word".
            match = _LENGTH.search(prompt, max(0, unit.start() - 8), unit.end() + 2)
            if match is not None:
                with suppress(InvalidRequest):
                    return cls.of(match[0])
        return None

    def instruction(self, lang: Language) -> str:
        """The words that ask a model for it."""
        if self.unit != "sentences":
            words = _WORDS if self.unit == "words" else _CHARACTERS
            return words[lang].format(n=self.count)
        return _ONE[lang] if self.count == 1 else _SENTENCES[lang].format(n=self.count)

    def met_by(self, text: str) -> bool:
        """Whether a summary keeps to it."""
        return self.size(text) <= self.count

    def size(self, text: str) -> int:
        """The length of a text in this unit; in Chinese words are characters, and characters are
        counted without the marks between them."""
        if self.unit == "sentences":
            return sum(1 for _ in sentences(text))
        if self.unit == "characters" and language(text) == "en":
            return len(text)
        return len(words(text))

    def length(self, tokens_per_char: float, lang: Language) -> Length:
        """Tokens to expect: a word has about six characters, a sentence about 20 words or 30 字."""
        usual = max(8, round(self.count * _CHARS[self.unit][lang] * tokens_per_char))
        return Length(usual=usual, most=usual + usual // 2 + 16)


def _unit(name: str) -> Literal["sentences", "words", "characters"]:
    if name.startswith(("sentence", "句")):
        return "sentences"
    return "characters" if name.startswith("character") else "words"
