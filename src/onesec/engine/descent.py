"""Descent: an answer's last tokens, when a good end is taken, and soon one that closing text makes.

It must not know tokens' meaning, time or how the text was computed.
"""

from __future__ import annotations

from onesec.budget.landing import End, Landing


class Descent:
    """An answer that is landing, from `begin` characters on (where its thinking is over) and for
    no longer than `until` tokens. Where nothing may be trimmed later, an end that needs closing
    text is taken once the next one may come too late: in the second half of what is left, or where
    a line of code would not fit. `json`: it is a JSON text, which can be closed at any time.
    """

    __slots__ = ("_from", "_half", "_json", "_token_chars", "begin", "landing", "may_trim", "until")

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
    ) -> None:
        self.landing = Landing(json=json)
        self.landing.push(text)
        self.begin = begin
        self.until = until
        self.may_trim = may_trim
        self._json = json
        self._half = (until - tokens) // 2
        self._token_chars = max(1.0, len(text) / max(1, answer_tokens))
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
        if self.may_trim or self._json:
            return None
        if self.until - tokens > max(self._half, self.landing.stride / self._token_chars):
            return None
        return self.landing.settled()
