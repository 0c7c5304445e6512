"""ThinkingMarks: the tokens between which a model thinks aloud before it answers.

It must not know tokenizers, templates or time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ThinkingMarks:
    """Tokens of one model's vocabulary.

    open_id, close_id   begin and end its thinking
    closing_ids         what ends it from outside: close_id, and what the model writes around it

    >>> marks = ThinkingMarks(open_id=7, close_id=8, closing_ids=(5, 8, 5))
    >>> marks.open_after([1, 7, 2]), marks.open_after([1, 7, 2, 8, 3])
    (True, False)
    """

    open_id: int
    close_id: int
    closing_ids: tuple[int, ...]

    @property
    def bare_closing_ids(self) -> tuple[int, ...]:
        """`closing_ids` without what follows the mark itself."""
        return self.closing_ids[: self.closing_ids.index(self.close_id) + 1]

    def open_after(self, tokens: Sequence[int]) -> bool:
        """Whether a text of these tokens ends while the model is thinking."""
        for token in reversed(tokens):
            if token in (self.open_id, self.close_id):
                return token == self.open_id
        return False
