"""Thinking marks of a model: found among its tokenizer's added tokens and in its chat templates.

It must not know prompts, answers or time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from onesec.core.thinking import ThinkingMarks

from .tokenizer import Tokenizer

# <think>, [THINK], <seed:think>, <|begin_of_thought|>, <|START_THINKING|>, ...
_OPEN = re.compile(
    r"[<\[][|]?(?:\w+[:_])*(?:think|thinking|thoughts?|reason|reasoning)(?:_\w+)*[|]?[>\]]",
    re.IGNORECASE,
)
_BEGIN = (("begin", "end"), ("start", "end"), ("BEGIN", "END"), ("START", "END"))
_LINE = r"(?:\\n|\n)*"  # line ends as a template's source spells them
_AROUND = ("\n", "\n\n")  # what most models write before and after the closing mark


def thinking_marks(tokenizer: Tokenizer) -> ThinkingMarks | None:
    """The marks of the model that the tokenizer belongs to; None where it has no pair of tokens for
    them (marks that are several tokens of plain text are not known).

    >>> thinking_marks(Tokenizer.from_folder("qwen3")).closing_ids     # doctest: +SKIP
    (198, 151668, 271)
    """
    added = tokenizer.added_tokens
    for text, open_id in added.items():
        if not _OPEN.fullmatch(text):
            continue
        close = next((c for c in _closes(text) if c in added), None)
        if close is not None:
            before, after = _around(close, tokenizer.chat_templates.values())
            ids = tuple(tokenizer.encode(before + close + after, special=True))
            close_id = added[close]
            return ThinkingMarks(open_id, close_id, ids if close_id in ids else (close_id,))
    return None


def _closes(text: str) -> Iterable[str]:
    """How the mark that closes this one may be spelled."""
    yield re.sub(r"([^\W_])", r"/\1", text, count=1)
    for begin, end in _BEGIN:
        if begin in text:
            yield text.replace(begin, end, 1)


def _around(close: str, templates: Iterable[str]) -> tuple[str, str]:
    """The line ends that templates write before and after the closing mark."""
    found = ("", "")
    for template in templates:
        for match in re.finditer(f"({_LINE}){re.escape(close)}({_LINE})", template):
            before, after = (part.replace("\\n", "\n") for part in match.groups())
            if len(before) + len(after) > len(found[0]) + len(found[1]):
                found = (before, after)
    return found if any(found) or close[0] != "<" else _AROUND
