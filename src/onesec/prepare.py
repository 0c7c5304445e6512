"""Prepare: from text or messages to a prompt's tokens, made to fit the time where that is asked.

A prompt is shortened only where it could not be answered in its time (or its context) as it is, and
only as far as it must. It must not know engines: how much room there is is asked of the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onesec.core.clock import Clock
from onesec.core.cues import Cues
from onesec.core.deadline import Deadline
from onesec.core.errors import ContextLengthExceeded, InvalidRequest
from onesec.core.fitted import FitReport, Fitting
from onesec.prompt.cues import cues
from onesec.wording import Message, Wording

FITTINGS: tuple[Fitting, ...] = ("none", "drop_oldest", "extract")
_FIT_SHARE = 0.1  # of the time left, which shortening may take
_BYTES_PER_TOKEN = 16  # a text with more bytes for each token of the context is not even encoded
Room = Callable[[Sequence[int], Cues, float], int]  # tokens, cues, milliseconds kept: most tokens


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prompt as it goes to the engine; `report` is None where nothing had to be done.
    `continues`: the answer goes on with its text."""

    tokens: tuple[int, ...]
    cues: Cues
    report: FitReport | None = None
    continues: bool = False

    @classmethod
    def of_tokens(cls, tokens: Sequence[int]) -> Prepared:
        """A prompt of token ids, of which nothing else is known."""
        return cls(tuple(tokens), Cues(source_tokens=len(tokens)), continues=True)


class Preparation:
    """How one request's prompt is prepared.

    fitting   the caller's leave: "none", "drop_oldest" or "extract" (see prompt.fit.fit)
    deadline  until when the answer must be there
    room      the most tokens that the prompt may have, of the engine as it is now
    context_length  tokens of one sequence
    """

    def __init__(
        self,
        wording: Wording,
        clock: Clock,
        *,
        context_length: int,
        fitting: Fitting,
        deadline: Deadline,
        room: Room,
        app: str = "",
    ) -> None:
        if fitting not in FITTINGS:
            raise InvalidRequest(
                f"fit is {fitting!r}.", hint=f"Choose one of {', '.join(FITTINGS)}."
            )
        if not isinstance(app, str):
            raise InvalidRequest(f"app is a {type(app).__name__}; it must be a name.")
        self._wording = wording
        self._context_length = context_length
        self._clock = clock
        self._fitting = fitting
        self._deadline = deadline
        self._room = room
        self._app = app

    def text(self, prompt: str) -> Prepared:
        """A plain text to be continued. Raises EmptyPrompt, ContextLengthExceeded."""
        encode = self._wording.tokenizer.encode
        prepared = self._prepared(prompt, prompt, lambda text: encode(text, add_bos=True), None)
        return replace(prepared, continues=True)

    def messages(self, messages: Sequence[Message], **options: Any) -> Prepared:
        """A conversation, through the chat template; `options` are those of `ChatTemplate.render`.
        Raises InvalidRequest, EmptyPrompt, ContextLengthExceeded."""
        encode = self._wording.tokenizer.encode

        def render(some: Sequence[Message]) -> str:
            return self._wording.render_text(some, **options)

        if not self._wording.template:
            render([])  # raises
        from onesec.prompt.fit import cleaned

        goes_on = bool(options.get("continue_final_message"))
        messages = cleaned(messages, goes_on=goes_on)
        text = render(messages)
        prepared = self._prepared(
            messages, text, lambda text: encode(text, special=True), render, goes_on=goes_on
        )
        return replace(prepared, continues=goes_on)

    def _prepared(
        self,
        prompt: str | Sequence[Message],
        text: str,
        encode: Callable[[str], list[int]],
        render: Callable[[Sequence[Message]], str] | None,
        *,
        goes_on: bool = False,
    ) -> Prepared:
        size = len(text.encode("utf-8", "replace"))
        context = self._context_length
        whole: list[int] = []
        if self._fitting == "none" or size <= _BYTES_PER_TOKEN * context:
            whole = encode(text)
        found = self._cues(prompt, len(whole) or context, size)
        if self._fitting == "none" or (whole and len(whole) <= self._room(whole, found, 0.0)):
            return Prepared(tuple(whole), found)

        start_ns = self._clock.now_ns()
        dues = [self._deadline.total_ns, self._deadline.ttft_ns]
        until = min((due for due in dues if due is not None), default=None)
        timed = until is not None
        spare_ms = 0.0 if until is None else _FIT_SHARE * (until - start_ns) / 1e6
        until_ns = start_ns + int(spare_ms * 1e6)
        most = self._room(whole, found, max(0.0, spare_ms))
        from onesec.prompt.fit import fit

        # Where nothing is short enough for the time, the engine refuses what it would have read.
        readable = 0 < len(whole) < self._context_length
        try:
            fitted = fit(
                prompt,
                count_tokens=lambda some: len(encode(some)),
                max_tokens=max(1, most),
                render=render,
                fitting=self._fitting,
                known_tokens=len(whole) or None,
                hurry=lambda: timed and self._clock.now_ns() >= until_ns,
                or_shortest=not readable,
                goes_on=goes_on,
            )
        except ContextLengthExceeded:
            return Prepared(tuple(whole), found)  # refused by the engine, with what would work
        tokens = encode(fitted.text)
        ms = (self._clock.now_ns() - start_ns) / 1e6
        size = len(fitted.text.encode("utf-8", "replace"))
        report = replace(fitted.report, tokens_after=len(tokens), ms=ms)
        return Prepared(
            tuple(tokens), self._cues(fitted.messages or fitted.text, len(tokens), size), report
        )

    def _cues(self, prompt: str | Sequence[Message], tokens: int, size: int) -> Cues:
        """Cues of the last message, which has its share of the prompt's tokens by its bytes."""
        last = prompt if isinstance(prompt, str) else _last_text(prompt)
        share = min(1.0, len(last.encode("utf-8", "replace")) / max(1, size))
        return cues(last, source_tokens=max(1, round(share * tokens)), app=self._app)


def _last_text(messages: Sequence[Message]) -> str:
    """The text of the last user message; empty where there is none."""
    for message in reversed(messages):
        if message.get("role") == "user":
            content = message.get("content")
            return content if isinstance(content, str) else ""
    return ""
