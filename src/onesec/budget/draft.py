"""Drafts: whether guessing tokens ahead pays, and how many, from measured acceptance and cost.

It must not know tokens, sequences or clocks: it sees counts and milliseconds.

A draft of m tokens of which each is right with probability a gives (1 - a^(m+1)) / (1 - a) tokens
(arXiv 2211.17192, eq. 1) for the cost of finding it and of one forward over m + 1 tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .latency import LatencyModel

MAX_DRAFT_TOKENS = 7  # a forward over 8 tokens is the widest one that a profile measures
LEAST_GAIN = 1.05  # what a draft must promise to be tried
_PRIOR_TOKENS = 4.0  # how much evidence the first guess of an acceptance rate weighs
_KEEP = 0.97  # of the evidence, past each draft
_KEEP_UNUSED = 0.94  # past each time that none was worth trying: what once lost is tried again
_CHECK_RATE = 0.1
_CHECK_BOUND = math.log(4.0)


@dataclass(slots=True)
class _Acceptance:
    """Tokens that were right, and tokens that were decided (the right ones and the first wrong)."""

    first_guess: float
    right: float = 0.0
    decided: float = 0.0

    @property
    def rate(self) -> float:
        right = self.right + _PRIOR_TOKENS * self.first_guess
        return right / (self.decided + _PRIOR_TOKENS)

    @property
    def sure_rate(self) -> float:
        """What the rate is at least, two standard errors down."""
        rate = self.rate
        return max(0.0, rate - 2.0 * math.sqrt(rate * (1.0 - rate) / (self.decided + 1.0)))

    def fade(self, share: float) -> None:
        self.right *= share
        self.decided *= share


class DraftModel:
    """What drafts are worth, per source of drafts and gear that checks them.

    >>> from onesec.budget.latency import GearCost
    >>> latency = LatencyModel({"8": GearCost(b_ms=1.0, q_ms=10.0, batch=((1, 1.0), (8, 1.4)))})
    >>> DraftModel(latency, {"lookup": 0.7}).best("lookup", "8", context=0, limit=7)[0]
    7
    """

    def __init__(self, latency: LatencyModel, first_guess: dict[str, float]) -> None:
        self._latency = latency
        self._first_guess = first_guess
        self._acceptance: dict[tuple[str, str], _Acceptance] = {}
        self._check_offset: dict[str, float] = {}  # log of measured / predicted, per gear

    def acceptance(self, source: str, gear: str) -> float:
        """Probability that the next token of a draft is right, when those before it were."""
        return self._of(source, gear).rate

    def check_ms(self, gear: str, context: int, drafted: int) -> float:
        """Median milliseconds of one forward over `drafted` tokens and the one before them."""
        if drafted == 0:
            return self._latency.step_ms(gear, context)
        offset = self._check_offset.get(gear, 0.0)
        return self._latency.step_ms(gear, context, 1 + drafted) * math.exp(offset)

    def best(
        self,
        source: str,
        gear: str,
        *,
        context: int,
        limit: int,
        draft_step_ms: float = 0.0,
        sure: bool = False,
    ) -> tuple[int, float]:
        """The draft length (0: none) that gives the most tokens a millisecond, at most `limit`,
        and how many times more than plain steps it gives. A draft token costs `draft_step_ms`.
        `sure`: by what is known of acceptance for certain, where a wrong guess would be felt."""
        acceptance = self._of(source, gear)
        rate = acceptance.sure_rate if sure else acceptance.rate
        step_ms = self._latency.step_ms(gear, context)
        best, best_gain, expected = 0, 1.0, 1.0
        for tokens in range(1, min(limit, MAX_DRAFT_TOKENS) + 1):
            expected += rate**tokens
            cost_ms = self.check_ms(gear, context, tokens) + tokens * draft_step_ms
            gain = expected * step_ms / cost_ms
            if gain > max(best_gain, LEAST_GAIN):
                best, best_gain = tokens, gain
        return best, best_gain

    def observe(
        self, source: str, gear: str, *, context: int, drafted: int, right: int, check_ms: float
    ) -> None:
        """Learn from a draft: `right` of its tokens were drawn, the check took `check_ms`."""
        acceptance = self._of(source, gear)
        acceptance.fade(_KEEP)
        acceptance.right += right
        acceptance.decided += min(drafted, right + 1)
        error = math.log(check_ms / self.check_ms(gear, context, drafted))
        offset = self._check_offset.get(gear, 0.0) + _CHECK_RATE * max(-1.0, min(1.0, error))
        self._check_offset[gear] = max(-_CHECK_BOUND, min(_CHECK_BOUND, offset))

    def pass_by(self, source: str, gear: str) -> None:
        """A draft was not worth trying: what is known against it fades a little."""
        self._of(source, gear).fade(_KEEP_UNUSED)

    def _of(self, source: str, gear: str) -> _Acceptance:
        key = source, gear
        found = self._acceptance.get(key)
        if found is None:
            found = self._acceptance[key] = _Acceptance(self._first_guess[source])
        return found
