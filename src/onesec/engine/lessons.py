"""Lessons: answers that are over, kept to be learned from when nobody is in a hurry.

It must not know sequences, text or time.
"""

from __future__ import annotations

from collections import deque

from onesec.budget.length import LengthModel
from onesec.core.cues import Cues
from onesec.core.request import Request

_HURRY_MS = 100.0  # a request with less time does not wait for what earlier answers teach,
_MANY = 64  # but for one, where more than so many are to be learned; each takes some 0.2 ms


class Lessons:
    """What answers teach of their lengths.

    length   of whole answers: learned when it is asked for, or before the next request with time
    answers  of what comes after the model's thinking
    """

    def __init__(self, length: LengthModel | None) -> None:
        self._length = length or LengthModel()
        self.answers = LengthModel()
        self._ended: deque[tuple[int, bool, Cues]] = deque()  # still to be learned

    @property
    def length(self) -> LengthModel:
        """The lengths of whole answers, those not counted that are still to be learned."""
        return self._length

    def note(self, tokens: int, answer_tokens: int | None, *, ended: bool, cues: Cues) -> None:
        """An answer is over; `ended`: by itself. `answer_tokens` came after thinking, if it
        thought."""
        self._ended.append((tokens, ended, cues))
        if answer_tokens is not None:
            self.answers.observe(answer_tokens, ended=ended, cues=cues)

    def learn(self) -> None:
        """Count the answers that are over."""
        while self._ended:
            self._learn_one()

    def learn_before(self, request: Request) -> None:
        """Count them where the request has time for it; else the oldest one, if they are many."""
        total_ms = request.budget.total_ms
        if total_ms is None or total_ms >= _HURRY_MS:
            self.learn()
        elif len(self._ended) > _MANY:
            self._learn_one()

    def _learn_one(self) -> None:
        tokens, ended, cues = self._ended.popleft()
        self._length.observe(tokens, ended=ended, cues=cues)
