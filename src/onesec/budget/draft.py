"""Drafts: whether guessing tokens ahead pays, and how many, from measured acceptance and cost.

It must not know tokens, sequences or clocks: it sees counts and milliseconds.

A draft of m tokens, of which the i-th is right with probability a_i if those before it are, gives
1 + a_1 + a_1 a_2 + … + a_1 ⋯ a_m tokens (arXiv 2211.17192, eq. 1, where the a_i are equal) for the
cost of finding it and of one forward over m + 1 tokens. How far a guess may be trusted depends on
its match: how many tokens before it stood alike where it was found. Each guess that is right makes
the next one's match longer. A source whose guesses have no match is trusted for all of them alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .latency import LatencyModel

MAX_MATCH = 8  # tokens; longer ones are trusted no more
MAX_DRAFT_TOKENS = 7  # a forward over 8 tokens is the widest one that a profile measures
LEAST_GAIN = 1.05  # what a draft must promise to be tried
_PRIOR_TOKENS = 4.0  # how much evidence the first guess of an acceptance rate weighs
_KEEP = 0.97  # of the evidence, past each token that was decided
_KEEP_UNUSED = 0.94  # past each time that none was worth trying: what once lost is tried again
_CHECK_RATE = 0.1
# A check reads all that a plain step reads. Where it takes so much less than one should, the
# machine is quicker than was thought, which nothing else may tell while all is drafted.
_QUICK = 0.8
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
    """What drafts are worth, per source of drafts, gear that checks them and match.

    `first_guess` holds each source's acceptance for matches of 1, 2, … tokens, the last one for
    longer ones too; a lone one for a source without matches, whose `match` is 0.

    >>> from onesec.budget.latency import GearCost
    >>> latency = LatencyModel({"8": GearCost(b_ms=1.0, q_ms=10.0, batch=((1, 1.0), (8, 1.4)))})
    >>> model = DraftModel(latency, {"lookup": (0.1, 0.7)})
    >>> [model.best("lookup", "8", context=0, limit=7, match=n)[0] for n in (1, 2)]
    [0, 5]
    """

    def __init__(self, latency: LatencyModel, first_guess: dict[str, tuple[float, ...]]) -> None:
        self._latency = latency
        self._first_guess = first_guess
        self._acceptance: dict[tuple[str, str, int], _Acceptance] = {}
        self._check_offset: dict[str, float] = {}  # log of measured / predicted, per gear

    def acceptance(self, source: str, gear: str, match: int = 0) -> float:
        """Probability that a guess with that match is right, when those before it were."""
        return self._of(source, gear, match).rate

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
        match: int = 0,
        draft_step_ms: float = 0.0,
        sure: bool = False,
    ) -> tuple[int, float]:
        """The draft length (0: none) that gives the most tokens a millisecond, at most `limit`,
        and how many times more than plain steps it gives. `match` is that of its first token; a
        draft token costs `draft_step_ms`. `sure`: by what is known of acceptance for certain, where
        a wrong guess would be felt."""
        step_ms = self._latency.step_ms(gear, context)
        best, best_gain, expected, all_right = 0, 1.0, 1.0, 1.0
        for tokens in range(1, min(limit, MAX_DRAFT_TOKENS) + 1):
            acceptance = self._of(source, gear, _later(match, tokens - 1))
            all_right *= acceptance.sure_rate if sure else acceptance.rate
            expected += all_right
            cost_ms = self.check_ms(gear, context, tokens) + tokens * draft_step_ms
            gain = expected * step_ms / cost_ms
            if gain > max(best_gain, LEAST_GAIN):
                best, best_gain = tokens, gain
        return best, best_gain

    def observe(
        self,
        source: str,
        gear: str,
        *,
        context: int,
        drafted: int,
        right: int,
        check_ms: float,
        match: int = 0,
    ) -> None:
        """Learn from a draft: `right` of its tokens were drawn, the check took `check_ms`."""
        for i in range(min(drafted, right + 1)):
            acceptance = self._of(source, gear, _later(match, i))
            acceptance.fade(_KEEP)
            acceptance.right += i < right
            acceptance.decided += 1.0
        error = math.log(check_ms / self.check_ms(gear, context, drafted))
        offset = self._check_offset.get(gear, 0.0) + _CHECK_RATE * max(-1.0, min(1.0, error))
        self._check_offset[gear] = max(-_CHECK_BOUND, min(_CHECK_BOUND, offset))
        step_ms = self._latency.step_ms(gear, context)
        if check_ms < _QUICK * step_ms:
            self._latency.observe_machine(math.log(check_ms / step_ms))

    def pass_by(self, source: str, gear: str, match: int = 0) -> None:
        """A draft was not worth trying: what is known against it fades a little."""
        self._of(source, gear, match).fade(_KEEP_UNUSED)

    def _of(self, source: str, gear: str, match: int) -> _Acceptance:
        key = source, gear, match
        found = self._acceptance.get(key)
        if found is None:
            guesses = self._first_guess[source]
            guess = guesses[min(max(match, 1), len(guesses)) - 1]
            found = self._acceptance[key] = _Acceptance(guess)
        return found


def _later(match: int, right: int) -> int:
    """The match of a guess behind `right` ones that were right."""
    return min(match + right, MAX_MATCH) if match else 0
