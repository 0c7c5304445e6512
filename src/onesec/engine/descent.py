"""Descent: an answer's last tokens, when a good end is taken, and soon one that closing text makes.

It must not know tokens' meaning, time or how the text was computed.
"""

from __future__ import annotations

import math
from itertools import pairwise

from onesec.budget.enders import sentence_ends
from onesec.budget.landing import End, Landing

_RECENT, _FEWEST = 8, 3  # sentences that tell how long the next one is


class Descent:
    """An answer that is landing, from `begin` characters on (where its thinking is over) and for
    no longer than `until` tokens. Where nothing may be trimmed later, an end that needs closing
    text is taken once the next one may come too late: in the second half of what is left, or where
    a line of code would not fit. `json`: it is a JSON text, which can be closed at any time.

    `patient`: nobody else needs the time. Then a good end is passed over where another sentence of
    the usual length fits; what is written behind it is held back until that one ends too, so it can
    be left out whatever was shown.
    """

    __slots__ = (
        "_from",
        "_half",
        "_json",
        "_passed",
        "_sentence_chars",
        "_token_chars",
        "begin",
        "landing",
        "may_trim",
        "patient",
        "until",
    )

    def __init__(
        self,
        text: str,
        *,
        begin: int,
        tokens: int,
        answer_tokens: int,
        until: int,
        may_trim: bool,
        json: bool,
        patient: bool,
    ) -> None:
        self.landing = Landing(json=json)
        self.landing.push(text)
        self.begin = begin
        self.until = until
        self.may_trim = may_trim
        self._json = json
        self._half = (until - tokens) // 2
        self._token_chars = max(1.0, len(text) / max(1, answer_tokens))
        self.patient = patient
        self._from = self.landing.last_end()  # good ends after it end the answer
        self._passed = False
        self._sentence_chars = math.inf if json or not patient else _usual_sentence(text)

    def begins_at_end(self, tokens: int) -> bool:
        """Whether the text ends well already, and is to end there."""
        if not 0 < len(self.landing.text.rstrip()) <= self._from:
            return False
        return not self._passes(self._from, tokens)

    def look(self, tokens: int, shown: int) -> End | None:
        """Where to end, now that more was written, and so many characters were shown."""
        end, shown = self.landing.last_end(), 0 if self.may_trim else shown - self.begin
        if end > self._from and not self.landing.text[end:shown].strip():
            return None if self._passes(end, tokens) else End(max(end, shown))
        return self.close(tokens)

    def held(self) -> int:
        """Characters that may be shown by now."""
        return self._from if self._passed else self.landing.held()

    def _passes(self, end: int, tokens: int) -> bool:
        """Whether the answer goes on behind a good end."""
        if (self.until - tokens) * self._token_chars < self._sentence_chars:
            return False
        self._from, self._passed = end, True
        return True

    def close(self, tokens: int) -> End | None:
        """The end right here that closing text makes good, where no better one will come."""
        if self.may_trim or self._json:
            return None
        if self.until - tokens > max(self._half, self.landing.stride / self._token_chars):
            return None
        return self.landing.settled()


def _usual_sentence(text: str) -> float:
    """Characters that three of four of the last sentences did not exceed; inf for too few."""
    ends = [0, *sentence_ends(text)][-_RECENT - 1 :]
    lengths = sorted(end - begin for begin, end in pairwise(ends))
    return lengths[3 * len(lengths) // 4] if len(lengths) >= _FEWEST else math.inf
