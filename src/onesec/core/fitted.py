"""FitReport: what was taken from a prompt so that it fits, in numbers.

It must not know how a prompt is made to fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Fitting = Literal["none", "drop_oldest", "extract"]  # see prompt.fit.fit


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """What fitting took, and what it cost.

    dropped_turns   whole turns that are gone: a user's message with all that answers it
    removed_chars   characters removed from the texts that stayed (not those of cleaning)
    passes          how often the prompt was rendered and counted
    tokens_before   of the prompt as it came; an estimate where it was too long to be counted
    tokens_after    of the prompt as it goes to the model
    ms              that fitting took, out of the request's own time; 0 where nobody measured
    """

    dropped_turns: int = 0
    removed_chars: int = 0
    passes: int = 0
    tokens_before: int = 0
    tokens_after: int = 0
    ms: float = 0.0
