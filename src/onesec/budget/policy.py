"""Policy: the few numbers that planning and steering turn on; some sets of them have names.

It must not know gears' names, times or answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A budget T is planned as T - flush_ms - margin_share·T.

    gear_quantile      of the answer's length: so much must fit in a gear for it to be used
    target_quantile    of the same: so much must fit in the cheapest gear, whichever is in use
    smallest_quantile  of the same, but `min_answer_tokens` at most: the smallest useful answer. A
                       budget that leaves less is refused
    whole_quantile     of the same, or `landable_tokens` if that is less, sentences enough to end
                       well after one of them: a refusal's offer leaves so much
    reserve_share      of the time left that a prompt in a better gear than the cheapest must leave
                       over, for stalls: its time cannot be taken back, that of tokens can
    landing_tokens     about one sentence: the last tokens, in which an answer looks for its end
    hysteresis         a better gear must fit with this much to spare, as a share of its need
    shift_gap_tokens   tokens between two shifts upwards
    climbs             whether time that is left over buys a better gear
    """

    flush_ms: float = 0.5
    margin_share: float = 0.01
    gear_quantile: float = 0.8
    target_quantile: float = 0.8
    smallest_quantile: float = 0.05
    min_answer_tokens: int = 8
    whole_quantile: float = 0.95
    landable_tokens: int = 48
    reserve_share: float = 0.15
    landing_tokens: int = 24
    hysteresis: float = 0.15
    shift_gap_tokens: int = 8
    climbs: bool = True

    def margin_ms(self, budget_ms: float) -> float:
        """What is kept back of a budget for handing over the last byte."""
        return self.flush_ms + self.margin_share * budget_ms

    def budget_for(self, work_ms: float) -> float:
        """The smallest budget in whole milliseconds that leaves `work_ms` after the margin."""
        return float(math.ceil((work_ms + self.flush_ms) / (1.0 - self.margin_share) + 1e-6))

    def choice(self, gears: tuple[Item, ...]) -> tuple[Item, ...]:
        """Which of the allowed gears, cheapest first, this policy chooses from.

        >>> POLICIES["fastest"].choice(("4", "8"))
        ('4',)
        """
        return gears if self.climbs else gears[:1]


# balanced: the best gear in which four answers of five would fit whole.
# quality:  the best gear in which the usual answer fits, as long as four of five still fit when
#           the rest is written in the cheapest one; longer answers pay by shifting down later.
# fastest:  the cheapest gear, for prompt and answer: done as soon as it can be.
POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        "balanced": Policy(),
        "quality": Policy(
            gear_quantile=0.5, reserve_share=0.05, hysteresis=0.05, shift_gap_tokens=4
        ),
        "fastest": Policy(climbs=False),
    }
)
