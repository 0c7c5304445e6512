"""Stopping: when an answer is over, and how much of its text counts. The only door for text.

It must not know time, gears or how tokens are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass

from onesec.budget.landing import End, Landing
from onesec.core.request import SamplingParams
from onesec.core.thinking import ThinkingMarks

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
    closing        text behind them that ends the answer well; no token was computed for it
    """

    finish_reason: str
    stop_reason: str | int | None
    ending: str
    keep_token: bool = True
    text_chars: int | None = None
    closing: str = ""


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

    `limit` is the most tokens it may have; `marks` are those of the model's thinking, `thinking`
    whether the prompt has opened it. Text is followed only where stop strings are set or `land` was
    called; until then a token costs a few comparisons.
    """

    def __init__(
        self,
        params: SamplingParams,
        *,
        eos_ids: tuple[int, ...],
        limit: int,
        tokens: list[int],
        decode: DecodeText,
        marks: ThinkingMarks | None = None,
        thinking: bool = False,
    ) -> None:
        self._tokens = tokens  # the answer so far: shared with the sequence, which appends to it
        self._decode = decode
        self._limit = limit
        self._min_tokens = params.min_tokens
        self._eos_ids = () if params.ignore_eos else eos_ids
        self._end_ids = frozenset(self._eos_ids + params.stop_token_ids)
        self._stop = params.stop
        self._longest = max(map(len, params.stop), default=0)
        self._marks = marks
        self._answer_at: int | None = None if thinking else 0
        self._text: GrowingText | None = GrowingText(decode) if params.stop else None
        self._shown = 0  # characters that were shown, of a text that is followed
        self._descent: _Descent | None = None

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
    def thinking(self) -> bool:
        """Whether the model is thinking: what it writes is no answer yet."""
        return self._answer_at is None

    @property
    def answer_tokens(self) -> int | None:
        """Tokens after the model's thinking; None where it did not think, or still does."""
        return len(self._tokens) - self._answer_at if self._answer_at else None

    def show(self) -> int | None:
        """Characters that may be shown now: never taken back, and no part of a stop string that is
        on its way, nor of what a landing may leave out. None: all (no text is followed)."""
        if self._text is None:
            return None
        text = self._text.text
        safe = len(text)
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if any(stop.startswith(text[start:]) for stop in self._stop):
                safe = start
                break
        if self._descent is not None:
            safe = min(safe, self._descent.begin + self._descent.landing.held())
        self._shown = max(self._shown, safe)
        return self._shown

    def land(self, room_tokens: int, *, may_trim: bool) -> Stop | None:
        """From now on a good end is an end, with `room_tokens` to come; the Stop if the text ends
        well already. `may_trim`: nothing was shown, so the text may be cut back."""
        if self._text is None:
            self._text = GrowingText(self._decode)
            for token in self._tokens:
                self._text.append(token)
            self._shown = len(self._text.text)
        until = len(self._tokens) + room_tokens
        self._descent = descent = self._begin_descent(self._text.text, until, may_trim)
        if len(self._tokens) < self._min_tokens:
            return None
        if descent.ends_well:
            return Stop("stop", "deadline", "landed")
        end = descent.close(len(self._tokens))
        return None if end is None else _landed(descent.begin + end.keep, end.closing)

    def add(self, token: int) -> Stop | None:
        """Take the next token drawn (and append it to the answer, if it belongs to it)."""
        count = len(self._tokens)
        if token in self._end_ids and count >= self._min_tokens:
            reason = None if token in self._eos_ids else token
            return Stop("stop", reason, "natural", keep_token=False)
        self._tokens.append(token)
        if self._marks is not None:
            self._watch_thinking(self._marks, token)
        if self._text is not None:
            stop = self._add_text(self._text, token)
            if stop is not None:
                return stop
        if count + 1 >= self._limit:
            return Stop("length", None, "cut")
        return None

    def _watch_thinking(self, marks: ThinkingMarks, token: int) -> None:
        if token == marks.open_id:
            self._answer_at = None
        elif token == marks.close_id:
            self._answer_at = len(self._tokens)

    def _add_text(self, text: GrowingText, token: int) -> Stop | None:
        known = len(text.text)
        new = text.append(token)
        descent = self._descent
        if descent is not None:
            if self._answer_at in (None, len(self._tokens)):  # thinking, or just over
                self._descent = self._begin_descent(text.text, descent.until, descent.may_trim)
                return None
            descent.landing.push(new)
        if not new or len(self._tokens) < self._min_tokens:
            return None
        if self._stop:
            start = max(0, known - self._longest + 1)
            hits = [(text.text.find(stop, start), stop) for stop in self._stop]
            hits = [hit for hit in hits if hit[0] >= 0]
            if hits:
                position, stop_string = min(hits)
                return Stop("stop", stop_string, "natural", text_chars=position)
        if descent is not None:
            end = descent.look(len(self._tokens), self._shown)
            if end is not None:
                return _landed(descent.begin + end.keep, end.closing)
        return None

    def _begin_descent(self, text: str, until: int, may_trim: bool) -> _Descent:
        at = len(self._tokens) if self._answer_at is None else self._answer_at
        begin = len(self._decode(self._tokens[:at])) if at else 0
        begin = min(begin, len(text))
        return _Descent(text[begin:], begin, len(self._tokens), at, until, may_trim)

    def out_of_time(self, *, may_trim: bool) -> Stop:
        """End here: landed where the text ends well, is closed, or may be trimmed to a good end;
        else cut."""
        whole = self._decode(self._tokens) if self._tokens else ""
        text = whole.rstrip(_REPLACEMENT)
        shown = len(text)
        if self._text is not None:
            text, shown = self._text.text, self._shown
        if not self.thinking:
            descent = self._descent or self._begin_descent(text, 0, may_trim)
            floor = 0 if may_trim else max(0, shown - descent.begin)
            end = descent.landing.end(floor)
            if end is not None:
                keep = descent.begin + end.keep
                return _landed(None if keep == len(whole) else keep, end.closing)
        return Stop("length", "deadline", "cut")


class _Descent:
    """An answer that is landing, from `begin` characters on (where its thinking is over) and for
    no longer than `until` tokens. Where nothing may be trimmed later, an end that needs closing text
    is taken once the next one may come too late: in the second half of what is left, or where a
    line of code would not fit.
    """

    __slots__ = ("_from", "_half", "_token_chars", "begin", "landing", "may_trim", "until")

    def __init__(
        self, text: str, begin: int, tokens: int, at: int, until: int, may_trim: bool
    ) -> None:
        self.landing = Landing()
        self.landing.push(text)
        self.begin = begin
        self.until = until
        self.may_trim = may_trim
        self._half = (until - tokens) // 2
        self._token_chars = max(1.0, len(text) / max(1, tokens - at))
        self._from = self.landing.last_end()  # good ends after it end the answer

    @property
    def ends_well(self) -> bool:
        """Whether the text ends well already."""
        return 0 < len(self.landing.text.rstrip()) <= self._from

    def look(self, tokens: int, shown: int) -> End | None:
        """Where to end, now that more was written, and so many characters were shown."""
        end, shown = self.landing.last_end(), 0 if self.may_trim else shown - self.begin
        if end > self._from and not self.landing.text[end:shown].strip():
            return End(max(end, shown))
        return self.close(tokens)

    def close(self, tokens: int) -> End | None:
        """The end right here that closing text makes good, where no better one will come."""
        if self.may_trim:
            return None
        if self.until - tokens > max(self._half, self.landing.stride / self._token_chars):
            return None
        return self.landing.settled()


def _landed(keep: int | None, closing: str) -> Stop:
    return Stop("stop", "deadline", "landed", text_chars=keep, closing=closing)
