"""Stopping: when an answer is over, and how much of its text counts. The only door for text.

It must not know time, gears or how tokens are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Seq
from dataclasses import dataclass

from onesec.backend.base import TokenMask
from onesec.budget.landing import End
from onesec.core.request import SamplingParams
from onesec.core.thinking import ThinkingMarks

from .descent import Descent
from .structure import Structure

Decode = Callable[[Seq[int]], str]
_MAX_PENDING = 8  # tokens that may wait for the rest of a character
_REPLACEMENT = "\ufffd"  # what an incomplete character decodes to


@dataclass(frozen=True, slots=True)
class Stop:
    """Why an answer ends.

    finish_reason  "stop", "length" or "error"
    stop_reason    the stop string, the stop token's id, "deadline", "max_tokens" (where a structure
                   was closed for it), or None (end token, max_tokens)
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

    def __init__(self, decode: Decode) -> None:
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
        # What is no text, such as a special token, is no context either.
        if known := self._decode(self._pending):
            self._recent, self._known = self._pending, known
        elif not self.text:  # nothing but what opens a text: the next token is read behind it
            self._recent = (self._recent + self._pending)[-_MAX_PENDING:]
            self._known = whole
        self._pending = []
        self.text += new
        return new


class StopCheck:
    """Watches one answer grow and says when it is over.

    `limit` is the most tokens it may have; `marks` are those of the model's thinking, `thinking`
    whether the prompt has opened it; `structure` is what the answer must be. Text is followed only
    where stop strings or a structure are set, or `land` was called; until then a token costs a few
    comparisons.
    """

    def __init__(
        self,
        params: SamplingParams,
        *,
        eos_ids: tuple[int, ...],
        limit: int,
        tokens: list[int],
        decode: Decode,
        marks: ThinkingMarks | None = None,
        thinking: bool = False,
        structure: Structure | None = None,
    ) -> None:
        self._tokens = tokens  # the answer so far: shared with the sequence, which appends to it
        self._decode = decode
        self._limit = limit
        self._min_tokens = params.min_tokens
        self._eos_ids = () if params.ignore_eos else eos_ids
        self._end_ids = frozenset(self._eos_ids + params.stop_token_ids)
        self._stop = params.stop
        self._longest = max(map(len, params.stop), default=0)
        self._begins = frozenset(stop[0] for stop in params.stop)
        self._marks = marks
        self._answer_at: int | None = None if thinking else 0
        self._structure = structure
        followed = bool(params.stop) or structure is not None
        self._text: GrowingText | None = GrowingText(decode) if followed else None
        self._shown = 0  # characters that were shown, of a text that is followed
        self._descent: Descent | None = None

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
    def structured(self) -> bool:
        """Whether the answer must have a structure."""
        return self._structure is not None

    def mask(self) -> TokenMask | None:
        """The tokens that may come next; None: all."""
        return None if self._structure is None or self.thinking else self._structure.mask()

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
            begins = text[start] in self._begins
            if begins and any(stop.startswith(text[start:]) for stop in self._stop):
                safe = start
                break
        if self._descent is not None:
            safe = min(safe, self._descent.begin + self._descent.held())
        self._shown = max(self._shown, safe)
        return self._shown

    def land(self, room_tokens: int, *, may_trim: bool, patient: bool) -> Stop | None:
        """From now on a good end is an end, with `room_tokens` to come; the Stop if the text ends
        well already. `may_trim`: nothing was shown, so the text may be cut back; `patient`: see
        Descent."""
        if self._text is None:
            self._text = GrowingText(self._decode)
            for token in self._tokens:
                self._text.append(token)
            self._shown = len(self._text.text)
        until = len(self._tokens) + room_tokens
        self._descent = descent = self._begin_descent(self._text.text, until, may_trim, patient)
        if len(self._tokens) < self._min_tokens:
            return None
        if descent.begins_at_end(len(self._tokens)):
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
        thinking = self.thinking
        if self._marks is not None:
            self._watch_thinking(self._marks, token)
        if self._structure is not None and not thinking:
            self._structure.take(token)
            if self._structure.done:
                return Stop("stop", None, "natural")
        if self._text is not None:
            stop = self._add_text(self._text, token)
            if stop is not None:
                return stop
        return self._at_limit() if count + 1 >= self._limit else None

    def _at_limit(self) -> Stop:
        """The answer has all its tokens: cut, unless it has a structure that can be closed."""
        if self._text is not None and (closing := self._after_thinking()):
            return _landed(len(self._text.text), closing, reason="max_tokens")
        if self._structure is not None and self._text is not None and not self.thinking:
            text = self._text.text
            descent = self._descent or self._begin_descent(text, 0, False)
            end = self._best_end(descent, max(0, self._shown - descent.begin))
            if end is not None:
                return _landed(descent.begin + end.keep, end.closing, reason="max_tokens")
        return Stop("length", None, "cut")

    def _after_thinking(self) -> str:
        """Where the model still thinks and its answer must have a structure: the end of the one and
        the shortest of the other; else nothing."""
        if self._structure is None or self._marks is None or not self.thinking:
            return ""
        return self._decode(self._marks.bare_closing_ids) + (self._structure.close("") or "")

    def _best_end(self, descent: Descent, floor: int) -> End | None:
        """The best end that keeps `floor` characters of the answer."""
        end = descent.landing.end(floor)
        if self._structure is None:
            return end
        answer = descent.landing.text
        ends = [end, End(len(answer))] if end is not None else [End(len(answer))]
        return self._structure.end(answer, ends)

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
                self._descent = self._begin_descent(
                    text.text, descent.until, descent.may_trim, descent.patient
                )
                return None
            descent.landing.push(new)
        if not new or len(self._tokens) < self._min_tokens:
            return None
        if self._stop:
            # Only what ends in the new text: what min_tokens has let pass is shown already.
            hits = [
                (text.text.find(stop, max(0, known - len(stop) + 1)), stop) for stop in self._stop
            ]
            hits = [hit for hit in hits if hit[0] >= 0]
            if hits:
                position, stop_string = min(hits)
                return Stop("stop", stop_string, "natural", text_chars=position)
        if descent is not None:
            end = descent.look(len(self._tokens), self._shown)
            if end is not None:
                return _landed(descent.begin + end.keep, end.closing)
        return None

    def _begin_descent(
        self, text: str, until: int, may_trim: bool, patient: bool = False
    ) -> Descent:
        at = len(self._tokens) if self._answer_at is None else self._answer_at
        begin = len(self._decode(self._tokens[:at])) if at else 0
        begin = min(begin, len(text))
        return Descent(
            text[begin:],
            begin=begin,
            tokens=len(self._tokens),
            answer_tokens=len(self._tokens) - at,
            until=until,
            may_trim=may_trim,
            json=self.structured,
            patient=patient,
        )

    def out_of_time(self, *, may_trim: bool) -> Stop:
        """End here: landed where the text ends well, is closed, or may be trimmed to a good end;
        else cut."""
        whole = self._decode(self._tokens) if self._tokens else ""
        text = whole.rstrip(_REPLACEMENT)
        shown = len(text)
        if self._text is not None:
            text, shown = self._text.text, self._shown
        if closing := self._after_thinking():
            return _landed(None if len(text) == len(whole) else len(text), closing)
        if not self.thinking:
            descent = self._descent or self._begin_descent(text, 0, may_trim)
            floor = 0 if may_trim else max(0, shown - descent.begin)
            end = self._best_end(descent, floor)
            if end is not None:
                keep = descent.begin + end.keep
                return _landed(None if keep == len(whole) else keep, end.closing)
        return Stop("length", "deadline", "cut")


def _landed(keep: int | None, closing: str, reason: str = "deadline") -> Stop:
    return Stop("stop", reason, "landed", text_chars=keep, closing=closing)
