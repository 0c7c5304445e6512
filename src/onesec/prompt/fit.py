"""fit: preprocess until the prompt is complete and fits: clean, render, count, shorten, again.

What is dropped is reported, never hidden; without the caller's leave nothing is dropped at all.
It must not know tokenizers or templates: both come in as functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from onesec.core.errors import ContextLengthExceeded, EmptyPrompt, InvalidRequest

from .clean import clean
from .template import Message

BYTES_PER_TOKEN = 16  # a text with more bytes a token than this is shortened before it is counted
OMISSION = " […] "  # stands where sentences were taken out of a message
# Sentence ends with what closes them; a line end closes a sentence too.
_SENTENCE = re.compile(r"[^.!?。！？…\n]*(?:[.!?。！？…]+[\"'”’」』)）]*\s*|\n\s*|$)")

Fitting = Literal["none", "drop_oldest"]
Count = Callable[[str], int]
Render = Callable[[Sequence[Message]], str]


@dataclass(frozen=True, slots=True)
class FitReport:
    """What fitting took: whole turns dropped, characters removed from texts that stayed (not those
    of cleaning), and how often the prompt was rendered and counted."""

    dropped_turns: int = 0
    removed_chars: int = 0
    passes: int = 0


@dataclass(frozen=True, slots=True)
class Fitted:
    """The prompt as it goes to the model: `text` (rendered), its tokens, the messages left (None for
    plain text), and the report."""

    text: str
    prompt_tokens: int
    messages: tuple[Message, ...] | None
    report: FitReport


def fit(
    prompt: str | Sequence[Message],
    *,
    count_tokens: Count,
    max_tokens: int,
    render: Render | None = None,
    fitting: Fitting = "none",
) -> Fitted:
    """Clean a prompt, render it, and make it fit `max_tokens`.

    prompt        plain text, or chat messages (then `render` is needed)
    count_tokens  tokens of a rendered prompt
    max_tokens    the most that the prompt may take: context length less the room for the answer
    fitting       "none": a prompt that does not fit is refused.
                  "drop_oldest": the oldest turns go first (a turn is a user's message with all that
                  answers it; system messages and the last turn stay), then the longest text is
                  shortened at sentence ends: messages in their middle, plain text at its beginning.

    Raises EmptyPrompt, ContextLengthExceeded with both numbers, and what `render` and `count_tokens`
    raise.

    >>> fit("a b c", count_tokens=lambda t: len(t.split()), max_tokens=9).prompt_tokens
    3
    """
    if max_tokens < 1:
        raise InvalidRequest(f"max_tokens is {max_tokens}; a prompt needs at least 1.")
    job = _Job(count_tokens, render, max_tokens)
    if isinstance(prompt, str):
        texts, messages = [clean(prompt, strip=False)], None
    else:
        if render is None:
            raise InvalidRequest("Messages need a chat template.", hint="Pass render=.")
        messages = [_cleaned(message) for message in prompt]
        texts = []
    if not (messages or any(texts)):
        raise EmptyPrompt("The prompt is empty.", hint="Write something.")
    if fitting == "drop_oldest" and not job.fits(messages, texts):
        return job.shorten(messages, texts)
    done = job.measure(messages, texts)
    if done.prompt_tokens > max_tokens:
        raise ContextLengthExceeded(
            prompt_tokens=done.prompt_tokens, context_length=max_tokens + 1
        )
    return done
