"""Stopping: when an answer is over, and how much of its text counts. The only door for text.

It must not know time, gears or how tokens are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass

from onesec.budget.landing import ends_well, last_end
from onesec.core.request import SamplingParams

DecodeText = Callable[[Seq[int]], str]
_MAX_PENDING = 8  # tokens that may wait for the rest of a character
_REPLACEMENT = "\ufffd"  # what an incomplete character decodes to


@dataclass(frozen=True, slots=True)
class Stop:
    """Why an answer ends.

    finish_reason  "stop", "length" or "error"
    stop_reason    the stop string, the stop token's id, "deadline", or None (end token, max_tokens)
    ending         "natural", "landed" or "cut"
    keep_token     whether the last token drawn belongs to the answer
    text_chars     characters of the answer's text that count; None: all
    """

    finish_reason: str
    stop_reason: str | int | None
    ending: str
    keep_token: bool = True
    text_chars: int | None = None


class GrowingText:
    """An answer's text, grown token by token; each token is decoded a bounded number of times.

    >>> text = GrowingText(lambda ids: "".join(map(chr, ids)))
    >>> text.append(72), text.append(105), text.text
    ('H', 'i', 'Hi')
    """

    __slots__ = ("_decode", "_known", "_pending", "_recent", "text")

    def __init__(self, decode: DecodeText) -> None:
        self.text = ""
        self._decode = decode
        self._recent: list[int] = []  # decoded before, give the next token its context
        self._known = ""  # text of _recent
        self._pending: list[int] = []  # their characters are not complete yet

    def append(self, token: int) -> str:
        """Add a token; returns the text that it completes."""
        self._pending.append(token)
        whole = self._decode(self._recent + self._pending)
        if whole.endswith(_REPLACEMENT) and len(self._pending) < _MAX_PENDING:
            return ""
        new = whole[len(self._known) :]
        self._recent, self._pending = self._pending, []
        self._known = self._decode(self._recent)
        self.text += new
        return new


class StopCheck:
    """Watches one answer grow and says when it is over.

    `limit` is the most tokens it may have. Text is followed only where stop strings are set or
    `land` was called; until then a token costs two comparisons.
    """

    def __init__(
        self,
        params: SamplingParams,
        *,
        eos_ids: tuple[int, ...],
        limit: int,
        tokens: list[int],
        decode: DecodeText,
    ) -> None:
        self._tokens = tokens  # the answer so far: shared with the sequence, which appends to it
        self._decode = decode
        self._limit = limit
        self._min_tokens = params.min_tokens
        self._eos_ids = () if params.ignore_eos else eos_ids
        self._end_ids = frozenset(self._eos_ids + params.stop_token_ids)
        self._stop = params.stop
        self._longest = max(map(len, params.stop), default=0)
        self._landed_from: int | None = None  # good ends after this position end the answer
        self._text: GrowingText | None = GrowingText(decode) if params.stop else None

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens after which the backend should return."""
        return tuple(self._end_ids)

    @property
    def every_token(self) -> bool:
        """Whether each token must be looked at before the next one is drawn."""
        return self._text is not None

    @property
    def left(self) -> int:
        """Tokens that the answer may still have."""
        return self._limit - len(self._tokens)

    @property
    def safe_chars(self) -> int | None:
        """Characters that can no longer become part of a stop string; None: no text is followed."""
        if not self._stop or self._text is None:
            return None
        text = self._text.text
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if any(stop.startswith(text[start:]) for stop in self._stop):
                return start
        return len(text)

    def land(self) -> Stop | None:
        """From now on the end of a sentence is an end; the Stop if the text ends well already."""
        if self._text is None:
            self._text = GrowingText(self._decode)
            for token in self._tokens:
                self._text.append(token)
        text = self._text.text
        self._landed_from = last_end(text)
        if len(self._tokens) >= self._min_tokens and ends_well(text):
            return Stop("stop", "deadline", "landed")
        return None

    def add(self, token: int) -> Stop | None:
        """Take the next token drawn (and append it to the answer, if it belongs to it)."""
        count = len(self._tokens)
        if token in self._end_ids and count >= self._min_tokens:
            reason = None if token in self._eos_ids else token
            return Stop("stop", reason, "natural", keep_token=False)
        self._tokens.append(token)
        if self._text is not None:
            stop = self._add_text(self._text, token)
            if stop is not None:
                return stop
        if count + 1 >= self._limit:
            return Stop("length", None, "cut")
        return None

    def _add_text(self, text: GrowingText, token: int) -> Stop | None:
        known = len(text.text)
        new = text.append(token)
        if not new or len(self._tokens) < self._min_tokens:
            return None
        if self._stop:
            start = max(0, known - self._longest + 1)
            hits = [(text.text.find(stop, start), stop) for stop in self._stop]
            hits = [hit for hit in hits if hit[0] >= 0]
            if hits:
                position, stop_string = min(hits)
                return Stop("stop", stop_string, "natural", text_chars=position)
        if self._landed_from is not None:
            end = last_end(text.text)
            if end > self._landed_from:
                return Stop("stop", "deadline", "landed", text_chars=end)
        return None

    def out_of_time(self, *, may_trim: bool) -> Stop:
        """End here: landed where the text ends well, or may be trimmed to a good end; else cut."""
        text = self._decode(self._tokens) if self._tokens else ""
        if ends_well(text):
            return Stop("stop", "deadline", "landed")
        end = last_end(text) if may_trim else 0
        if end:
            return Stop("stop", "deadline", "landed", text_chars=end)
        return Stop("length", "deadline", "cut")
